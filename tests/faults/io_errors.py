"""Errors of the file system: EIO, ENOSPC and EMFILE at every change of a file, and a full disk.

Flow: the N-th system call of some type fails, once or from then on → the action succeeds or raises a typed
error → the fault ends, and a new writer continues → compare the lake with the record of the work.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

from tests.faults.children import Emit, in_child, side_by_side
from tests.faults.power_cuts import enlarge_disk, small_disk
from tests.faults.scenario import Context, Counts, FaultFoundError, NotPossibleError, join_counts
from tests.faults.syscalls import WRITES, Call, Decision, watched
from tests.faults.workload import (
    WorkRecord,
    append_each,
    append_many,
    check_lake,
    derive_sums,
    pin_all,
    recover,
)
from tracelake.lake import Lake
from tracelake.schemas.errors import TracelakeError

FAULT_TYPES: dict[str, tuple[int, frozenset[str]]] = {
    "EIO sync": (errno.EIO, frozenset({"fsync", "fdatasync"})),
    "EIO write": (errno.EIO, frozenset({*WRITES, "writev", "copy_file_range", "ftruncate"})),
    "EIO name": (
        errno.EIO,
        frozenset({"rename", "renameat", "renameat2", "link", "linkat", "mkdir", "unlink"}),
    ),
    "ENOSPC": (
        errno.ENOSPC,
        frozenset({*WRITES, "fallocate", "open", "openat", "mkdir", "link"}),
    ),
    "EMFILE": (errno.EMFILE, frozenset({"open", "openat"})),
}
"""The errno of each type of fault, and the system calls that fail with it."""
ACTIONS: dict[str, Callable[[Lake, Emit], object]] = {
    "append": lambda lake, emit: append_each(lake, "faulty", range(10, 12), emit, land_after=10),
    "close": lambda lake, emit: append_many(lake, "faulty", 20, 3, emit),
    "project": lambda lake, _: lake.project(),
    "derive": lambda lake, _: derive_sums(lake),
    "pin": pin_all,
}
TRIALS_SMALL = 40
DISKS_FULL, DISKS_SMALL = 10, 2
SMALLEST_KILOBYTES = 300


class ErrorTrial(NamedTuple):
    """Which calls one trial fails."""

    action: str
    fault_type: str
    number: int
    lasts: bool

    @property
    def name(self) -> str:
        return f"{self.action}.{self.fault_type.replace(' ', '-')}.{self.number}{'+' if self.lasts else ''}"


class ErrorCounts(NamedTuple):
    """Counts of one process's trials."""

    faults: dict[str, int]
    raised: dict[str, int]
    check_count: int


def run(context: Context) -> Counts:
    root, record = _build_used_lake(context)
    trials = _trials(context, root)
    halves = [(context, root, record, trials[part::2]) for part in range(2)]
    faults: Counter[str] = Counter()
    raised: Counter[str] = Counter()
    checked = 0
    for part in side_by_side(_run_part, halves):
        faults.update(part.faults)
        raised.update(part.raised)
        checked += part.check_count
    for number in range(_disk_count(context)):
        if context.is_selected(f"disk.{number}"):
            checked += _fill_disk(context, number)
            faults["full disks"] += 1
    survived = sum(faults.values()) - faults["full disks"] - sum(raised.values())
    detail = (
        f"{join_counts(dict(sorted(faults.items())))}; {sum(raised.values()):,} raised typed errors, "
        f"the action survived {survived:,}; lost 0, doubled 0"
    )
    return Counts(sum(faults.values()), "errors", checked, detail)


def _disk_count(context: Context) -> int:
    if os.geteuid() == 0:
        return DISKS_FULL if context.full else DISKS_SMALL
    if os.environ.get("CI") == "true":
        raise NotPossibleError("full disks need root, to mount a file system in memory")
    return 0


def _build_used_lake(context: Context) -> tuple[Path, WorkRecord]:
    root = context.folder / "used" / "lake"
    root.parent.mkdir()
    built = watched(partial(_use, root), root, lambda _: None)
    if built.exit_code:
        raise FaultFoundError("used", ["building a lake failed, its error is above"])
    return root, WorkRecord().plus(built.lines)


def _use(root: Path, emit: Emit) -> None:
    lake = Lake.create(str(root))
    append_many(lake, "first", 0, 3, emit)
    lake.project()
    derive_sums(lake)
    pin_all(lake, emit)
    append_many(lake, "second", 3, 3, emit)


def _trials(context: Context, root: Path) -> list[ErrorTrial]:
    """Every call of every action, with every type of fault, once and lasting; a small run draws some."""
    trials: list[ErrorTrial] = []
    for action in ACTIONS:
        copy = _copy_lake(context, root, f"count.{action}")
        without_fault = watched(partial(_act, copy, action), context.folder, lambda _: None)
        for fault_type, (_, names) in FAULT_TYPES.items():
            total = sum(call.name in names for call in without_fault.calls)
            trials += [
                ErrorTrial(action, fault_type, number, lasts)
                for number in range(1, total + 1)
                for lasts in (False, True)
            ]
    context.random("order").shuffle(trials)
    selected = [trial for trial in trials if context.is_selected(trial.name)]
    return selected if context.full or context.trial else selected[:TRIALS_SMALL]


def _act(root: Path, action: str, emit: Emit) -> None:
    ACTIONS[action](Lake.open(str(root)), emit)


def _copy_lake(context: Context, root: Path, trial: str) -> Path:
    copy = context.trial_folder(trial) / "lake"
    shutil.copytree(root, copy)
    return copy


def _run_part(context: Context, used: Path, record: WorkRecord, trials: list[ErrorTrial]) -> ErrorCounts:
    faults: Counter[str] = Counter()
    raised: Counter[str] = Counter()
    checked = 0
    for trial in trials:
        root = _copy_lake(context, used, trial.name)
        fault = Fault(trial)
        worker = watched(partial(_act_then_continue, root, trial.action), root, fault)
        problems = [line for line in worker.lines if line.startswith("untyped")]
        if worker.exit_code and not problems:
            problems = ["a new writer could not continue, its error is above"]
        found = in_child(check_lake, root, record.plus(worker.lines))
        if problems or found.problems:
            raise FaultFoundError(trial.name, [*problems, *found.problems])
        if fault.occurred:
            faults[trial.fault_type] += 1
            raised.update(line.split()[1] for line in worker.lines if line.startswith("raised"))
        checked += found.event_count
        shutil.rmtree(root.parent)
    return ErrorCounts(dict(faults), dict(raised), checked)


class Fault:
    """Fails the N-th call of a type, or all from there on, until the worker creates the folder `over`."""

    def __init__(self, trial: ErrorTrial) -> None:
        self._errno, self._names = FAULT_TYPES[trial.fault_type]
        self._trial = trial
        self._seen = 0
        self.occurred = False
        self._over = False

    def __call__(self, call: Call) -> Decision:
        self._over = self._over or call.path.endswith("/over")
        if self._over or call.name not in self._names:
            return None
        self._seen += 1
        if self._seen == self._trial.number or (self._trial.lasts and self._seen > self._trial.number):
            self.occurred = True
            return self._errno
        return None


def _act_then_continue(root: Path, action: str, emit: Emit) -> None:
    """The action under faults, then more work without faults."""
    try:
        ACTIONS[action](Lake.open(str(root)), emit)
    except (TracelakeError, OSError) as error:
        emit(f"raised {type(error).__name__}")
    except BaseException as error:  # noqa: BLE001 - a panic of Rust is not an Exception
        emit(f"untyped {type(error).__name__}: {' '.join(str(error).split())[:300]}")
    over = root / "over"
    over.mkdir()
    over.rmdir()
    again = Lake.open(str(root))
    append_each(again, "new", range(30, 32), emit)
    again.project()
    pin_all(again, emit)


def _fill_disk(context: Context, number: int) -> int:
    """Fill a small disk until the work fails, twice; then enlarge the disk, recover and check."""
    trial = f"disk.{number}"
    size = SMALLEST_KILOBYTES + context.random(trial).randrange(1200)
    with small_disk(context.folder / trial, size) as folder:
        output: list[str] = []
        for phase in ("fill", "again"):
            lines = in_child(_work_until_full, folder / "lake", phase)
            output += lines
            if untyped := [line for line in lines if line.startswith("untyped")]:
                raise FaultFoundError(trial, untyped)
        enlarge_disk(folder, 64 * 1024)
        record = WorkRecord(created=False).plus(output)
        if record.created:
            in_child(recover, folder / "lake")
        found = in_child(check_lake, folder / "lake", record)
    if found.problems:
        raise FaultFoundError(trial, found.problems)
    return found.event_count


def _work_until_full(root: Path, phase: str) -> list[str]:
    """A worker's lines up to its first error."""
    lines: list[str] = []
    first = 0 if phase == "fill" else 10_000
    try:
        lake = Lake.create(str(root)) if phase == "fill" else Lake.open(str(root))
        lines.append("created")
        for index in count(first, 5):
            append_many(lake, phase, index, 5, lines.append)
            if index % 4 == 0:
                lake.project()
                pin_all(lake, lines.append)
    except (TracelakeError, OSError) as error:
        lines.append(f"raised {type(error).__name__}")
    except BaseException as error:  # noqa: BLE001 - a panic of Rust is not an Exception
        lines.append(f"untyped {type(error).__name__}: {' '.join(str(error).split())[:300]}")
    return lines
