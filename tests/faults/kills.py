"""kill -9 at every change of a file: append, close, project, derive, pin, maintain, recover, create.

Flow: count an action's changes → for each, a fresh copy of the lake, the action killed there → the recovery
killed somewhere too → recovery, and everything that was told is compared.

A write is killed twice: before it, and when half of it is written.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.faults.children import Say, in_child, side_by_side
from tests.faults.history import (
    AT_ONCE,
    NOTHING_YOUNG,
    Told,
    append_each,
    append_many,
    checked,
    derive_sums,
    maintain,
    pin_all,
    recover,
    reopened,
)
from tests.faults.scenario import Context, Counts, FaultFoundError, by_part
from tests.faults.syscalls import KILL, TEAR, WRITES, Call, Verdict, watched
from tracelake.lake import Lake

TARGET_FULL, TARGET_SMALL = 1_000, 100
PROCESSES = 2
ROUNDS_MAX = 10
RECOVERY_KILLS_MAX = 2
RECOVERY_CALLS = 60
"""A recovery is killed at one of about so many changes, or ends before."""


class State(NamedTuple):
    """A lake before the action, and what its makers were told."""

    name: str
    root: Path
    told: Told


class Point(NamedTuple):
    """Where one trial kills."""

    state: State
    action: str
    number: int
    tears: bool
    round: int

    @property
    def name(self) -> str:
        return f"{self.state.name}.{self.action}.{self.number}{'t' if self.tears else ''}.{self.round}"


class Tally(NamedTuple):
    """What a part of the trials did."""

    kills: dict[str, int]
    checked: int
    acknowledged: int


def run(context: Context) -> Counts:
    states = _states(context)
    target = TARGET_FULL if context.full else TARGET_SMALL
    points = _points(context, states)
    halves = [(context, points[part::PROCESSES], target // PROCESSES) for part in range(PROCESSES)]
    tallies = side_by_side(_trials, halves if context.trial is None else [(context, points, 0)])
    kills: Counter[str] = Counter()
    for tally in tallies:
        kills.update(tally.kills)
    return Counts(
        sum(kills.values()),
        "kills",
        sum(tally.checked for tally in tallies),
        f"{by_part(dict(sorted(kills.items())))}; events acknowledged under fire "
        f"{sum(tally.acknowledged for tally in tallies):,}; lost 0, doubled 0",
    )


def _points(context: Context, states: list[State]) -> list[Point]:
    """All changes of all actions, in a drawn order; then all of them once more, as often as it may take."""
    once: list[Point] = []
    for state in states:
        for action in _actions(state):
            calls = _counted(context, state, action)
            once += [Point(state, action, call.number, False, 0) for call in calls]
            torn = [call for call in calls if call.name in WRITES]
            once += [Point(state, action, call.number, True, 0) for call in torn]
    points: list[Point] = []
    for number in range(ROUNDS_MAX):
        again = [point._replace(round=number) for point in once]
        context.random("order", number).shuffle(again)
        points += again
    return [point for point in points if context.wanted(point.name)]


def _trials(context: Context, points: list[Point], target: int) -> Tally:
    """Until the target is reached; in the full run every point is met once at least."""
    kills: Counter[str] = Counter()
    seen = acknowledged = 0
    for point in points:
        once_more = point.round > 0 or not context.full
        if once_more and context.trial is None and sum(kills.values()) >= target:
            break
        root = context.place(point.name) / "lake"
        if point.state.root.exists():
            shutil.copytree(point.state.root, root)
        told = _killed(context, point, root, kills)
        found = in_child(checked, root, told)
        if found.problems:
            raise FaultFoundError(point.name, found.problems)
        seen += found.event_count
        acknowledged += 3 * len(told.acknowledged - point.state.told.acknowledged)
        shutil.rmtree(root.parent)
    return Tally(dict(kills), seen, acknowledged)


def _killed(context: Context, point: Point, root: Path, kills: Counter[str]) -> Told:
    """The action killed, then its recovery; counts what was really killed."""
    draws = context.random(point.name)
    action = _actions(point.state)[point.action]
    outcome = watched(partial(action, root), root, _at(point.number, TEAR if point.tears else KILL))
    told = point.state.told.plus(outcome.said)
    if not outcome.killed:
        # Threads of Lance share the work as they like: this time there was one change less.
        if outcome.exit_code:
            raise FaultFoundError(point.name, [f"{point.action} failed without a fault"])
        return told
    kills["torn writes" if point.tears else point.action] += 1
    for _ in range(draws.randrange(RECOVERY_KILLS_MAX + 1)):
        if not _recovery_killed(draws, point, root, told):
            break
        kills["recovery"] += 1
    return told


def _recovery_killed(draws: Random, point: Point, root: Path, told: Told) -> bool:
    outcome = watched(partial(_recover, root, told), root, _at(1 + draws.randrange(RECOVERY_CALLS), KILL))
    if outcome.exit_code and not outcome.killed:
        raise FaultFoundError(point.name, ["recovery failed, its error is above"])
    return outcome.killed


def _recover(root: Path, told: Told, say: Say) -> None:
    reopened(root, told)
    recover(root)


def _at(number: int, verdict: str) -> Callable[[Call], Verdict]:
    return lambda call: verdict if call.number == number else None


def _counted(context: Context, state: State, action: str) -> list[Call]:
    """Changes that the action makes when nobody kills it."""
    root = context.place(f"count-{state.name}-{action}") / "lake"
    if state.root.exists():
        shutil.copytree(state.root, root)
    outcome = watched(partial(_actions(state)[action], root), root, lambda _: None)
    shutil.rmtree(root.parent)
    if outcome.exit_code:
        raise FaultFoundError(f"{state.name}.{action}", ["it failed without any fault, its error is above"])
    return outcome.calls


def _actions(state: State) -> dict[str, Callable[[Path, Say], object]]:
    """What is killed, by name."""
    if not state.told.created:
        return {"create": _create}
    actions: dict[str, Callable[[Path, Say], object]] = {
        "append": lambda root, say: append_each(
            Lake.open(str(root)), "killed", range(10, 13), say, land_after=10
        ),
        "close": lambda root, say: append_many(Lake.open(str(root)), "killed", 20, 3, say),
        "project": lambda root, _: _project(root),
    }
    if state.told.acknowledged:
        actions |= {
            "derive": lambda root, _: _derive(root),
            "pin": lambda root, say: pin_all(Lake.open(str(root)), say),
            "recover": lambda root, _: recover(root),
        }
        actions["maintain"] = lambda root, _: _maintain(root)
    return actions


def _create(root: Path, say: Say) -> None:
    Lake.create(str(root))
    say("created")


def _project(root: Path) -> None:
    Lake.open(str(root)).project()


def _derive(root: Path) -> None:
    lake = Lake.open(str(root))
    lake.project()
    derive_sums(lake)


def _maintain(root: Path) -> None:
    """The first merges, the second takes away what the first has replaced."""
    lake = Lake.open(str(root))
    for _ in range(2):
        if problems := maintain(lake, NOTHING_YOUNG._replace(superseded_age=AT_ONCE)):
            raise AssertionError(f"maintain: {problems[:3]}")


def _states(context: Context) -> list[State]:
    """No lake, an empty one, and one that is used, in which a writer was killed."""
    nothing = context.folder / "states" / "none" / "lake"
    nothing.parent.mkdir(parents=True)
    empty = State("empty", context.folder / "states" / "empty" / "lake", Told())
    empty.root.parent.mkdir()
    in_child(lambda: Lake.create(str(empty.root)) and None)
    used = context.folder / "states" / "used" / "lake"
    used.parent.mkdir()
    outcome = watched(partial(_use, used), used, lambda _: None)
    if outcome.exit_code:
        raise FaultFoundError("states", ["making a lake failed, its error is above"])
    told = Told().plus(outcome.said)
    return [State("none", nothing, Told(created=False)), empty, State("used", used, told)]


def _use(root: Path, say: Say) -> None:
    """Tables, a pin, and events after them; the process ends without a close."""
    lake = Lake.create(str(root))
    for first in (0, 2):
        append_many(lake, "first", first, 2, say)
        lake.project()
        derive_sums(lake)
    pin_all(lake, say)
    append_each(lake, "second", range(4, 7), say, land_after=4)
