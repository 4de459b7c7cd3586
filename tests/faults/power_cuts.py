"""Power cuts: a file system of its own goes down without writing its log or any dirty page.

Flow: a worker appends, projects, derives, pins and maintains on a loop-mounted ext4 or xfs → the shutdown
ioctl at a drawn moment → unmount, mount, perhaps a second cut while it recovers → recovery, and what was
told is compared.

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
    Say,
    answer,
    ended,
    forked,
    heard,
    in_child,
    side_by_side,
    speaker,
    started,
    whole_lines,
)
from tests.faults.history import (
    AFTERWARDS,
    Told,
    append_each,
    append_many,
    checked,
    derive_sums,
    maintain,
    pin_all,
    recover,
)
from tests.faults.scenario import Context, Counts, FaultFoundError, NotPossibleError
from tracelake.lake import Lake
from tracelake.schemas.errors import LakeMissingError

CUTS_FULL, CUTS_SMALL = 50, 4
CUTS_PER_LAKE = 5
IMAGE_BYTES = 400 * 2**20
MAKERS = {"ext4": ["mkfs.ext4", "-q", "-F"], "xfs": ["mkfs.xfs", "-q", "-f"]}
SHUTDOWN, WITHOUT_LOG_FLUSH = 0x8004587D, struct.pack("I", 2)
DEAD_DISK = re.compile(r"Input/output error|I/O error|os error 5|Errno 5|EIO", re.IGNORECASE)
# A dead xfs still knows its folders' names and nothing more of them: making sure of one fails by this.
FOLDER_OF_DEAD_DISK = re.compile(r"on a dead disk .*File exists \(os error 17\)")
INDICES_PER_CUT = 1_000_000


class Tally(NamedTuple):
    """What one file system went through."""

    file_system: str
    cuts: int
    recovery_cuts: int
    checked: int
    acknowledged: int
    pins: int


def run(context: Context) -> Counts:
    _demand_means()
    systems = [name for name in MAKERS if context.trial is None or context.trial.startswith(name)]
    tallies = side_by_side(_cuts, [(context, name) for name in systems])
    parts = (
        f"{tally.file_system}: {tally.cuts:,} at work and {tally.recovery_cuts:,} in recovery, "
        f"{tally.acknowledged:,} events acknowledged, {tally.pins:,} pins"
        for tally in tallies
    )
    return Counts(
        sum(tally.cuts + tally.recovery_cuts for tally in tallies),
        "power cuts",
        sum(tally.checked for tally in tallies),
        f"{'; '.join(parts)}; lost 0, doubled 0, pins changed 0",
    )


def _demand_means() -> None:
    missing = [
        program for program, *_ in (*MAKERS.values(), ["mount"], ["umount"]) if not shutil.which(program)
    ]
    if os.geteuid() != 0 or missing:
        raise NotPossibleError(f"it needs root and {', '.join(missing) or 'nothing else'}")


def _cuts(context: Context, name: str) -> Tally:
    """A trial is a lake with its cuts: each recovery starts from what the last one left."""
    tally = Tally(name, 0, 0, 0, 0, 0)
    total = CUTS_FULL if context.full else CUTS_SMALL
    for first in range(0, total, CUTS_PER_LAKE):
        trial = f"{name}.{first // CUTS_PER_LAKE}"
        if not context.wanted(trial):
            continue
        disk = Disk(context.place(trial), name)
        try:
            done = _lake_life(disk, context.random(trial), min(CUTS_PER_LAKE, total - first), trial)
        finally:
            disk.close()
        shutil.rmtree(disk.image.parent)
        tally = Tally(name, *(old + new for old, new in zip(tally[1:], done, strict=True)))
    return tally


def _lake_life(disk: Disk, draws: Random, cuts: int, trial: str) -> tuple[int, int, int, int, int]:
    told = Told(created=False)
    root = disk.mounted / "lake"
    recovery_cuts = seen = acknowledged = 0
    for cut in range(cuts):
        worker = forked(lambda pipe, cut=cut: _work(root, cut * INDICES_PER_CUT, speaker(pipe)))
        # The first cut of a lake may find none; the others find work under way.
        said = heard(worker, draws.choice(["try", "ack", "pin"]) if cut else "")
        time.sleep(_delay_seconds(draws))
        disk.cut()
        before = len(told.acknowledged)
        lines = whole_lines(said + ended(worker))
        told = told.plus(lines)
        if early := [line for line in lines if line.startswith("raised") and not _is_of_the_cut(line)]:
            raise FaultFoundError(trial, [f"cut {cut + 1}: before it, a worker {early[0]}"])
        acknowledged += 3 * (len(told.acknowledged) - before)
        disk.mount_again()
        if told.created and draws.random() < 0.4:
            recovery_cuts += _cut_while_recovering(disk, root, draws)
        found = in_child(checked, root, told)
        if found.problems:
            raise FaultFoundError(trial, [f"cut {cut + 1}: {problem}" for problem in found.problems])
        seen += found.event_count
        everything = told.tried | {AFTERWARDS}
        told = Told(everything, everything, told.pins)
    return cuts, recovery_cuts, seen, acknowledged, len(told.pins)


def _recovering(root: Path) -> None:
    # Whatever it raises: the disk is gone.
    with suppress(Exception):
        recover(root)


def _cut_while_recovering(disk: Disk, root: Path, draws: Random) -> int:
    recovering = started(_recovering, root)
    time.sleep(draws.uniform(0.0, 0.5))
    disk.cut()
    answer(recovering)
    disk.mount_again()
    return 1


def _delay_seconds(draws: Random) -> float:
    """Mostly short; sometimes past the five seconds after which ext4 writes its journal by itself."""
    longest = draws.choices([1.0, 3.0, 7.0], weights=[70, 20, 10])[0]
    return draws.uniform(0.0, longest)


def _work(root: Path, first: int, say: Say) -> None:
    try:
        _work_on(root, first, say)
    except Exception as error:  # noqa: BLE001 - whether it is the cut's doing is judged by its text
        where = "on a dead disk " if _is_dead(root) else ""
        say(f"raised {where}{type(error).__name__}: {' '.join(str(error).split())}")


def _is_dead(root: Path) -> bool:
    try:
        os.listdir(root)
    except OSError as error:
        return error.errno == errno.EIO
    return False


def _is_of_the_cut(line: str) -> bool:
    return bool(DEAD_DISK.search(line) or FOLDER_OF_DEAD_DISK.search(line))


def _work_on(root: Path, first: int, say: Say) -> None:
    try:
        lake = Lake.open(str(root))
    except LakeMissingError:
        lake = Lake.create(str(root))
    say("created")
    for index in count(first, 10):
        append_each(lake, "cut", range(index, index + 3), say, land_after=index)
        append_many(lake, "cut", index + 3, 3, say)
        lake.project()
        derive_sums(lake)
        pin_all(lake, say)
        if problems := maintain(lake):
            raise AssertionError(f"maintain: {problems}")


class Disk:
    """An image with a file system, mounted."""

    def __init__(self, folder: Path, name: str) -> None:
        self.image = folder / "image"
        self.mounted = folder / "mounted"
        self.mounted.mkdir()
        with self.image.open("wb") as image:
            image.truncate(IMAGE_BYTES)
        _done([*MAKERS[name], str(self.image)])
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
        _done(["mount", "-o", "loop", str(self.image), str(self.mounted)])
        self._is_mounted = True

    def _unmount(self) -> None:
        # A file system that was shut down says nothing more, not even that it is mounted.
        for _ in _seconds(10):
            if not self._is_mounted:
                return
            done = subprocess.run(["umount", str(self.mounted)], capture_output=True, check=False)
            self._is_mounted = done.returncode != 0
        raise NotPossibleError(f"{self.mounted.name} can't be unmounted")


def _done(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotPossibleError(f"{command[0]}: {done.stderr.strip()}")


def _seconds(limit: float) -> Iterator[None]:
    """Tries, until the time is over."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        yield
        time.sleep(0.02)


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    """A file system in memory that is full soon."""
    folder.mkdir(parents=True)
    _done(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)])
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], capture_output=True, check=False)


def grown(folder: Path, kilobytes: int) -> None:
    """Space returns."""
    _done(["mount", "-o", f"remount,size={kilobytes}k", str(folder)])
