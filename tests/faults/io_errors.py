"""Errors of the file system: EIO, ENOSPC and EMFILE at every change of a file, and a disk that is full.

Flow: an action meets an errno at its N-th call of a sort, once or from then on → it must raise a typed error
→ the fault is over, a new writer goes on → what was told is compared.
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

from tests.faults.children import Say, in_child, side_by_side
from tests.faults.history import (
    Told,
    append_each,
    append_many,
    checked,
    derive_sums,
    pin_all,
    recover,
)
from tests.faults.power_cuts import grown, small_disk
from tests.faults.scenario import Context, Counts, FaultFoundError, NotPossibleError, by_part
from tests.faults.syscalls import WRITES, Call, Verdict, watched
from tracelake.lake import Lake
from tracelake.schemas.errors import TracelakeError

SORTS: dict[str, tuple[int, frozenset[str]]] = {
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
ACTIONS: dict[str, Callable[[Lake, Say], object]] = {
    "append": lambda lake, say: append_each(lake, "faulty", range(10, 12), say, land_after=10),
    "close": lambda lake, say: append_many(lake, "faulty", 20, 3, say),
    "project": lambda lake, _: lake.project(),
    "derive": lambda lake, _: derive_sums(lake),
    "pin": pin_all,
}
TRIALS_SMALL = 40
DISKS_FULL, DISKS_SMALL = 10, 2
SMALLEST_KILOBYTES = 300


class Trial(NamedTuple):
    """Where one trial fails calls."""

    action: str
    sort: str
    number: int
    lasts: bool

    @property
    def name(self) -> str:
        return f"{self.action}.{self.sort.replace(' ', '-')}.{self.number}{'+' if self.lasts else ''}"


class Tally(NamedTuple):
    """What a part of the trials did."""

    faults: dict[str, int]
    raised: dict[str, int]
    checked: int


def run(context: Context) -> Counts:
    root, told = _used(context)
    trials = _trials(context, root)
    halves = [(context, root, told, trials[part::2]) for part in range(2)]
    tallies = side_by_side(_part, halves)
    faults: Counter[str] = Counter()
    raised: Counter[str] = Counter()
    for tally in tallies:
        faults.update(tally.faults)
        raised.update(tally.raised)
    seen = sum(tally.checked for tally in tallies)
    for number in range(_disk_count(context)):
        if context.wanted(f"disk.{number}"):
            seen += _full_disk(context, number)
            faults["full disks"] += 1
    silent = sum(faults.values()) - faults["full disks"] - sum(raised.values())
    detail = (
        f"{by_part(dict(sorted(faults.items())))}; {sum(raised.values()):,} raised typed errors, {silent:,}"
    )
    return Counts(
        sum(faults.values()), "errors", seen, f"{detail} were survived by the action; lost 0, doubled 0"
    )


def _disk_count(context: Context) -> int:
    if os.geteuid() == 0:
        return DISKS_FULL if context.full else DISKS_SMALL
    if os.environ.get("CI") == "true":
        raise NotPossibleError("full disks need root, to mount a file system in memory")
    return 0


def _used(context: Context) -> tuple[Path, Told]:
    root = context.folder / "used" / "lake"
    root.parent.mkdir()
    outcome = watched(partial(_use, root), root, lambda _: None)
    if outcome.exit_code:
        raise FaultFoundError("used", ["making a lake failed, its error is above"])
    return root, Told().plus(outcome.said)


def _use(root: Path, say: Say) -> None:
    lake = Lake.create(str(root))
    append_many(lake, "first", 0, 3, say)
    lake.project()
    derive_sums(lake)
    pin_all(lake, say)
    append_many(lake, "second", 3, 3, say)


def _trials(context: Context, root: Path) -> list[Trial]:
    """Every call of every action in every sort, once and lasting; a drawn part of them in the small run."""
    trials: list[Trial] = []
    for action in ACTIONS:
        calls = watched(
            partial(_count, _copied(context, root, f"count.{action}"), action), context.folder, _none
        )
        for sort, (_, names) in SORTS.items():
            total = sum(call.name in names for call in calls.calls)
            trials += [
                Trial(action, sort, number, lasts)
                for number in range(1, total + 1)
                for lasts in (False, True)
            ]
    context.random("order").shuffle(trials)
    wanted = [trial for trial in trials if context.wanted(trial.name)]
    return wanted if context.full or context.trial else wanted[:TRIALS_SMALL]


def _none(_: Call) -> Verdict:
    return None


def _count(root: Path, action: str, say: Say) -> None:
    ACTIONS[action](Lake.open(str(root)), say)


def _copied(context: Context, root: Path, trial: str) -> Path:
    copy = context.place(trial) / "lake"
    shutil.copytree(root, copy)
    return copy


def _part(context: Context, used: Path, told: Told, trials: list[Trial]) -> Tally:
    faults: Counter[str] = Counter()
    raised: Counter[str] = Counter()
    seen = 0
    for trial in trials:
        root = _copied(context, used, trial.name)
        fault = Fault(trial)
        outcome = watched(partial(_meet, root, trial.action), root, fault)
        problems = [line for line in outcome.said if line.startswith("untyped")]
        if outcome.exit_code and not problems:
            problems = ["work did not go on with a new writer, its error is above"]
        found = in_child(checked, root, told.plus(outcome.said))
        if problems or found.problems:
            raise FaultFoundError(trial.name, [*problems, *found.problems])
        if fault.met:
            faults[trial.sort] += 1
            raised.update(line.split()[1] for line in outcome.said if line.startswith("raised"))
        seen += found.event_count
        shutil.rmtree(root.parent)
    return Tally(dict(faults), dict(raised), seen)


class Fault:
    """Fails calls of a sort from the N-th on, until the worker makes the folder that says `over`."""

    def __init__(self, trial: Trial) -> None:
        self._errno, self._names = SORTS[trial.sort]
        self._trial = trial
        self._seen = 0
        self.met = False
        self._over = False

    def __call__(self, call: Call) -> Verdict:
        self._over = self._over or call.path.endswith("/over")
        if self._over or call.name not in self._names:
            return None
        self._seen += 1
        if self._seen == self._trial.number or (self._trial.lasts and self._seen > self._trial.number):
            self.met = True
            return self._errno
        return None


def _meet(root: Path, action: str, say: Say) -> None:
    """The action under faults, then everything once more without."""
    try:
        ACTIONS[action](Lake.open(str(root)), say)
    except (TracelakeError, OSError) as error:
        say(f"raised {type(error).__name__}")
    except BaseException as error:  # noqa: BLE001 - a panic of Rust is no Exception
        say(f"untyped {type(error).__name__}: {' '.join(str(error).split())[:300]}")
    over = root / "over"
    over.mkdir()
    over.rmdir()
    again = Lake.open(str(root))
    append_each(again, "new", range(30, 32), say)
    again.project()
    pin_all(again, say)


def _full_disk(context: Context, number: int) -> int:
    """Fill a small disk by appends, projections and pins until each has met the end; then give space."""
    trial = f"disk.{number}"
    size = SMALLEST_KILOBYTES + context.random(trial).randrange(1200)
    with small_disk(context.folder / trial, size) as folder:
        said: list[str] = []
        for phase in ("fill", "again"):
            lines = in_child(_fill, folder / "lake", phase)
            said += lines
            if untyped := [line for line in lines if line.startswith("untyped")]:
                raise FaultFoundError(trial, untyped)
        grown(folder, 64 * 1024)
        told = Told(created=False).plus(said)
        in_child(recover, folder / "lake") if told.created else None
        found = in_child(checked, folder / "lake", told)
    if found.problems:
        raise FaultFoundError(trial, found.problems)
    return found.event_count


def _fill(root: Path, phase: str) -> list[str]:
    """Lines as a worker says them, up to the first error of each sort of work."""
    said: list[str] = []
    first = 0 if phase == "fill" else 10_000
    try:
        lake = Lake.create(str(root)) if phase == "fill" else Lake.open(str(root))
        said.append("created")
        for index in count(first, 5):
            append_many(lake, phase, index, 5, said.append)
            if index % 4 == 0:
                lake.project()
                pin_all(lake, said.append)
    except (TracelakeError, OSError) as error:
        said.append(f"raised {type(error).__name__}")
    except BaseException as error:  # noqa: BLE001 - a panic of Rust is no Exception
        said.append(f"untyped {type(error).__name__}: {' '.join(str(error).split())[:300]}")
    return said
