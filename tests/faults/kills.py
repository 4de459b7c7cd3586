"""kill -9 at every change of a file: append, close, project, derive, pin, maintain, recover, create.

Flow: count the file changes of an action → for each change, copy the lake and kill the action there → kill
its recovery at drawn changes → recover, and compare the lake with the record of the work.

Each write is killed twice: before it, and when half of it is written.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.faults.children import Emit, in_child, side_by_side
from tests.faults.scenario import Context, Counts, FaultFoundError, join_counts
from tests.faults.syscalls import KILL, TEAR, WRITES, Call, Decision, watched
from tests.faults.workload import (
    NO_AGE,
    NO_AGE_LIMITS,
    WorkRecord,
    append_each,
    append_many,
    check_lake,
    derive_sums,
    maintain,
    open_or_create,
    pin_all,
    recover,
)
from tracelake.lake import Lake

TARGET_FULL, TARGET_SMALL = 1_000, 100
PROCESSES = 2
ROUNDS_MAX = 10
RECOVERY_KILLS_MAX = 2
RECOVERY_CALLS = 60
"""A recovery is killed at one of about this many changes, or ends before it."""


class LakeState(NamedTuple):
    """A lake before the action, and the record of the work on it."""

    name: str
    root: Path
    record: WorkRecord


class KillPoint(NamedTuple):
    """Where one trial kills."""

    state: LakeState
    action: str
    number: int
    tears: bool
    round: int

    @property
    def name(self) -> str:
        return f"{self.state.name}.{self.action}.{self.number}{'t' if self.tears else ''}.{self.round}"


class KillCounts(NamedTuple):
    """Counts of one process's trials."""

    kills: dict[str, int]
    check_count: int
    acknowledged_count: int


def run(context: Context) -> Counts:
    states = _states(context)
    target = TARGET_FULL if context.full else TARGET_SMALL
    points = _points(context, states)
    halves = [(context, points[part::PROCESSES], target // PROCESSES) for part in range(PROCESSES)]
    parts = side_by_side(_trials, halves if context.trial is None else [(context, points, 0)])
    kills: Counter[str] = Counter()
    for part in parts:
        kills.update(part.kills)
    return Counts(
        sum(kills.values()),
        "kills",
        sum(part.check_count for part in parts),
        f"{join_counts(dict(sorted(kills.items())))}; events acknowledged during the trials "
        f"{sum(part.acknowledged_count for part in parts):,}; lost 0, doubled 0",
    )


def _points(context: Context, states: list[LakeState]) -> list[KillPoint]:
    """All changes of all actions in a drawn order, then all of them again, up to `ROUNDS_MAX` times."""
    once: list[KillPoint] = []
    for state in states:
        for action in _actions(state):
            calls = _counted_calls(context, state, action)
            once += [KillPoint(state, action, call.number, False, 0) for call in calls]
            writes = [call for call in calls if call.name in WRITES]
            once += [KillPoint(state, action, call.number, True, 0) for call in writes]
    points: list[KillPoint] = []
    for number in range(ROUNDS_MAX):
        again = [point._replace(round=number) for point in once]
        context.random("order", number).shuffle(again)
        points += again
    return [point for point in points if context.is_selected(point.name)]


def _trials(context: Context, points: list[KillPoint], target: int) -> KillCounts:
    """Run trials until the target is reached; a full run tries every point at least once."""
    kills: Counter[str] = Counter()
    checked = acknowledged = 0
    for point in points:
        may_stop = point.round > 0 or not context.full
        if may_stop and context.trial is None and sum(kills.values()) >= target:
            break
        root = context.trial_folder(point.name) / "lake"
        if point.state.root.exists():
            shutil.copytree(point.state.root, root)
        record = _kill_action_and_recovery(context, point, root, kills)
        found = in_child(check_lake, root, record)
        if found.problems:
            raise FaultFoundError(point.name, found.problems)
        checked += found.event_count
        acknowledged += 3 * len(record.acknowledged - point.state.record.acknowledged)
        shutil.rmtree(root.parent)
    return KillCounts(dict(kills), checked, acknowledged)


def _kill_action_and_recovery(
    context: Context, point: KillPoint, root: Path, kills: Counter[str]
) -> WorkRecord:
    """Counts kills that really happened."""
    draws = context.random(point.name)
    action = _actions(point.state)[point.action]
    run = watched(partial(action, root), root, _at(point.number, TEAR if point.tears else KILL))
    record = point.state.record.plus(run.lines)
    if not run.killed:
        # Threads of Lance divide the work differently each time: this run had one change fewer.
        if run.exit_code:
            raise FaultFoundError(point.name, [f"{point.action} failed without a fault"])
        return record
    kills["torn writes" if point.tears else point.action] += 1
    for _ in range(draws.randrange(RECOVERY_KILLS_MAX + 1)):
        if not _kill_recovery(draws, point, root, record):
            break
        kills["recovery"] += 1
    return record


def _kill_recovery(draws: Random, point: KillPoint, root: Path, record: WorkRecord) -> bool:
    run = watched(partial(_recover, root, record), root, _at(1 + draws.randrange(RECOVERY_CALLS), KILL))
    if run.exit_code and not run.killed:
        raise FaultFoundError(point.name, ["recovery failed, its error is above"])
    return run.killed


def _recover(root: Path, record: WorkRecord, emit: Emit) -> None:
    open_or_create(root, record)
    recover(root)


def _at(number: int, decision: str) -> Callable[[Call], Decision]:
    return lambda call: decision if call.number == number else None


def _counted_calls(context: Context, state: LakeState, action: str) -> list[Call]:
    """File changes of the action without any fault."""
    root = context.trial_folder(f"count-{state.name}-{action}") / "lake"
    if state.root.exists():
        shutil.copytree(state.root, root)
    run = watched(partial(_actions(state)[action], root), root, lambda _: None)
    shutil.rmtree(root.parent)
    if run.exit_code:
        raise FaultFoundError(f"{state.name}.{action}", ["it failed without any fault, its error is above"])
    return run.calls


def _actions(state: LakeState) -> dict[str, Callable[[Path, Emit], object]]:
    """The actions to kill, by name."""
    if not state.record.created:
        return {"create": _create}
    actions: dict[str, Callable[[Path, Emit], object]] = {
        "append": lambda root, emit: append_each(
            Lake.open(str(root)), "killed", range(10, 13), emit, land_after=10
        ),
        "close": lambda root, emit: append_many(Lake.open(str(root)), "killed", 20, 3, emit),
        "project": lambda root, _: _project(root),
    }
    if state.record.acknowledged:
        actions |= {
            "derive": lambda root, _: _derive(root),
            "pin": lambda root, emit: pin_all(Lake.open(str(root)), emit),
            "recover": lambda root, _: recover(root),
        }
        actions["maintain"] = lambda root, _: _maintain(root)
    return actions


def _create(root: Path, emit: Emit) -> None:
    Lake.create(str(root))
    emit("created")


def _project(root: Path) -> None:
    Lake.open(str(root)).project()


def _derive(root: Path) -> None:
    lake = Lake.open(str(root))
    lake.project()
    derive_sums(lake)


def _maintain(root: Path) -> None:
    """The first call merges files, the second removes the files that the first one replaced."""
    lake = Lake.open(str(root))
    for _ in range(2):
        if problems := maintain(lake, NO_AGE_LIMITS._replace(superseded_age=NO_AGE)):
            raise AssertionError(f"maintain: {problems[:3]}")


def _states(context: Context) -> list[LakeState]:
    """No lake, an empty lake, and a used lake in which a writer was killed."""
    nothing = context.folder / "states" / "none" / "lake"
    nothing.parent.mkdir(parents=True)
    empty = LakeState("empty", context.folder / "states" / "empty" / "lake", WorkRecord())
    empty.root.parent.mkdir()
    in_child(lambda: Lake.create(str(empty.root)) and None)
    used = context.folder / "states" / "used" / "lake"
    used.parent.mkdir()
    run = watched(partial(_build_used_lake, used), used, lambda _: None)
    if run.exit_code:
        raise FaultFoundError("states", ["building a lake failed, its error is above"])
    record = WorkRecord().plus(run.lines)
    return [LakeState("none", nothing, WorkRecord(created=False)), empty, LakeState("used", used, record)]


def _build_used_lake(root: Path, emit: Emit) -> None:
    """Tables, a pin, and events after them; the process ends without a close."""
    lake = Lake.create(str(root))
    for first in (0, 2):
        append_many(lake, "first", first, 2, emit)
        lake.project()
        derive_sums(lake)
    pin_all(lake, emit)
    append_each(lake, "second", range(4, 7), emit, land_after=4)
