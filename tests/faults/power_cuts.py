"""Power cuts: a mounted file system is shut down without writing its log or any dirty page.

Flow: a worker appends, projects, derives, pins and maintains on a loop-mounted ext4 or xfs → the shutdown
ioctl at a drawn time → unmount, mount, in some trials a second cut during recovery → recover, and compare the
lake with the record of the work.

Needs root, loop devices, and the Debian packages `e2fsprogs`, `xfsprogs` and `mount`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.faults.children import (
    Emit,
    complete_lines,
    emitter,
    fork_child,
    in_child,
    kill_and_read,
    read_until,
    result_of,
    side_by_side,
    start_child,
)
from tests.faults.scenario import Context, Counts, FaultFoundError, NotPossibleError
from tests.faults.workload import (
    CHECK_INDEX,
    WorkRecord,
    append_each,
    append_many,
    check_lake,
    derive_sums,
    maintain,
    pin_all,
    recover,
)
from tracelake.lake import Lake
from tracelake.schemas.errors import LakeMissingError

CUTS_FULL, CUTS_SMALL = 50, 4
CUTS_PER_LAKE = 5
IMAGE_BYTES = 400 * 2**20
FORMAT_COMMANDS = {"ext4": ["mkfs.ext4", "-q", "-F"], "xfs": ["mkfs.xfs", "-q", "-f"]}
SHUTDOWN, WITHOUT_LOG_FLUSH = 0x8004587D, struct.pack("I", 2)
DEAD_DISK = re.compile(r"Input/output error|I/O error|os error 5|Errno 5|EIO", re.IGNORECASE)
# A dead xfs still knows the names of its folders and nothing else: `mkdir` of an existing one fails so.
FOLDER_OF_DEAD_DISK = re.compile(r"on a dead disk .*File exists \(os error 17\)")
INDICES_PER_CUT = 1_000_000


class CutCounts(NamedTuple):
    """Counts of one file system."""

    file_system: str
    cuts: int
    recovery_cuts: int
    check_count: int
    acknowledged_count: int
    pins: int


def run(context: Context) -> Counts:
    _check_requirements()
    systems = [name for name in FORMAT_COMMANDS if context.trial is None or context.trial.startswith(name)]
    parts = side_by_side(_run_file_system, [(context, name) for name in systems])
    details = (
        f"{part.file_system}: {part.cuts:,} at work and {part.recovery_cuts:,} in recovery, "
        f"{part.acknowledged_count:,} events acknowledged, {part.pins:,} pins"
        for part in parts
    )
    return Counts(
        sum(part.cuts + part.recovery_cuts for part in parts),
        "power cuts",
        sum(part.check_count for part in parts),
        f"{'; '.join(details)}; lost 0, doubled 0, pins changed 0",
    )


def _check_requirements() -> None:
    commands = (*FORMAT_COMMANDS.values(), ["mount"], ["umount"])
    missing = [program for program, *_ in commands if not shutil.which(program)]
    if os.geteuid() != 0 or missing:
        raise NotPossibleError(f"it needs root and {', '.join(missing) or 'nothing else'}")


def _run_file_system(context: Context, name: str) -> CutCounts:
    """A trial is a lake with several cuts: each recovery starts from the result of the one before."""
    counts = CutCounts(name, 0, 0, 0, 0, 0)
    total = CUTS_FULL if context.full else CUTS_SMALL
    for first in range(0, total, CUTS_PER_LAKE):
        trial = f"{name}.{first // CUTS_PER_LAKE}"
        if not context.is_selected(trial):
            continue
        disk = Disk(context.trial_folder(trial), name)
        try:
            done = _run_lake(disk, context.random(trial), min(CUTS_PER_LAKE, total - first), trial)
        finally:
            disk.close()
        shutil.rmtree(disk.image.parent)
        counts = CutCounts(name, *(old + new for old, new in zip(counts[1:], done, strict=True)))
    return counts


def _run_lake(disk: Disk, draws: Random, cuts: int, trial: str) -> tuple[int, int, int, int, int]:
    """Fields of `CutCounts` after the first."""
    record = WorkRecord(created=False)
    root = disk.mounted / "lake"
    recovery_cuts = checked = acknowledged = 0
    for cut in range(cuts):
        worker = fork_child(lambda pipe, cut=cut: _work(root, cut * INDICES_PER_CUT, emitter(pipe)))
        # The first cut may come before the lake exists; later cuts wait until work has begun.
        output = read_until(worker, draws.choice(["try", "ack", "pin"]) if cut else "")
        time.sleep(_delay_seconds(draws))
        disk.cut()
        before = len(record.acknowledged)
        lines = complete_lines(output + kill_and_read(worker))
        record = record.plus(lines)
        if early := [line for line in lines if line.startswith("raised") and not _is_caused_by_cut(line)]:
            raise FaultFoundError(trial, [f"cut {cut + 1}: before it, a worker {early[0]}"])
        acknowledged += 3 * (len(record.acknowledged) - before)
        disk.mount_again()
        if record.created and draws.random() < 0.4:
            recovery_cuts += _cut_during_recovery(disk, root, draws)
        found = in_child(check_lake, root, record)
        if found.problems:
            raise FaultFoundError(trial, [f"cut {cut + 1}: {problem}" for problem in found.problems])
        checked += found.event_count
        everything = record.tried | {CHECK_INDEX}
        record = WorkRecord(everything, everything, record.pins)
    return cuts, recovery_cuts, checked, acknowledged, len(record.pins)


def _recover(root: Path) -> None:
    # Any error is expected, because the disk disappears.
    with suppress(Exception):
        recover(root)


def _cut_during_recovery(disk: Disk, root: Path, draws: Random) -> int:
    child = start_child(_recover, root)
    time.sleep(draws.uniform(0.0, 0.5))
    disk.cut()
    result_of(child)
    disk.mount_again()
    return 1


def _delay_seconds(draws: Random) -> float:
    """Mostly short; sometimes longer than the five seconds after which ext4 commits its journal by itself."""
    longest = draws.choices([1.0, 3.0, 7.0], weights=[70, 20, 10])[0]
    return draws.uniform(0.0, longest)


def _work(root: Path, first: int, emit: Emit) -> None:
    try:
        _repeat_work(root, first, emit)
    except Exception as error:  # noqa: BLE001 - the harness decides by the text whether the cut caused it
        where = "on a dead disk " if _is_dead(root) else ""
        emit(f"raised {where}{type(error).__name__}: {' '.join(str(error).split())}")


def _is_dead(root: Path) -> bool:
    try:
        os.listdir(root)
    except OSError as error:
        return error.errno == errno.EIO
    return False


def _is_caused_by_cut(line: str) -> bool:
    return bool(DEAD_DISK.search(line) or FOLDER_OF_DEAD_DISK.search(line))


def _repeat_work(root: Path, first: int, emit: Emit) -> None:
    try:
        lake = Lake.open(str(root))
    except LakeMissingError:
        lake = Lake.create(str(root))
    emit("created")
    for index in count(first, 10):
        append_each(lake, "cut", range(index, index + 3), emit, land_after=index)
        append_many(lake, "cut", index + 3, 3, emit)
        lake.project()
        derive_sums(lake)
        pin_all(lake, emit)
        if problems := maintain(lake):
            raise AssertionError(f"maintain: {problems}")


class Disk:
    """A mounted image with a file system."""

    def __init__(self, folder: Path, name: str) -> None:
        self.image = folder / "image"
        self.mounted = folder / "mounted"
        self.mounted.mkdir()
        with self.image.open("wb") as image:
            image.truncate(IMAGE_BYTES)
        _run_command([*FORMAT_COMMANDS[name], str(self.image)])
        self._mount()

    def cut(self) -> None:
        descriptor = os.open(self.mounted, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUTDOWN, WITHOUT_LOG_FLUSH)
        finally:
            os.close(descriptor)

    def mount_again(self) -> None:
        self._unmount()
        self._mount()

    def close(self) -> None:
        self._unmount()

    def _mount(self) -> None:
        _run_command(["mount", "-o", "loop", str(self.image), str(self.mounted)])
        self._is_mounted = True

    def _unmount(self) -> None:
        # A file system that was shut down does not even report that it is mounted, so this class keeps track.
        for _ in _tries(10):
            if not self._is_mounted:
                return
            done = subprocess.run(["umount", str(self.mounted)], capture_output=True, check=False)
            self._is_mounted = done.returncode != 0
        raise NotPossibleError(f"{self.mounted.name} cannot be unmounted")


def _run_command(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotPossibleError(f"{command[0]}: {done.stderr.strip()}")


def _tries(seconds: float) -> Iterator[None]:
    """Yield every 20 ms until the time is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(0.02)


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    """A small file system in memory."""
    folder.mkdir(parents=True)
    _run_command(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)])
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], capture_output=True, check=False)


def enlarge_disk(folder: Path, kilobytes: int) -> None:
    _run_command(["mount", "-o", f"remount,size={kilobytes}k", str(folder)])
