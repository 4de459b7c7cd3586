"""What clients were told, and whether the lake still says so.

A worker says `try I` before and `ack I` after it appends the events of index I, `pin REFERENCE DIGEST` once
it holds a pin. Acknowledged: there exactly once. Tried and not told: there once or not at all. Never tried:
absent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import polars as pl

from tests.faults.children import Say
from tests.lake.facts import digests, of_three_kinds, table_ids
from tracelake.lake import Lake
from tracelake.lake.maintenance.maintain import maintain as put_in_order
from tracelake.lake.maintenance.upkeep import UPKEEP, Upkeep
from tracelake.lake.tables.derived import Derivation
from tracelake.schemas.errors import LakeMissingError, TableMissingError, TracelakeError
from tracelake.schemas.events.event import Event, event_identity

KINDS = ("turn_completed", "reward_assigned", "rollout_ended")
DERIVED = "sums"
MADE = Derivation(key=("rollout_id",), code_version="1")
AT_ONCE = timedelta(0)
NOTHING_YOUNG = UPKEEP._replace(version_age=AT_ONCE, derived_version_age=AT_ONCE)
"""A scenario is over before a version is old enough to be cleaned away. What protects readers is as ever."""
AFTERWARDS = 900_000_000
"""First index of the events that a check appends to see that work goes on."""


class Told(NamedTuple):
    """What a history of workers says together."""

    tried: frozenset[int] = frozenset()
    acknowledged: frozenset[int] = frozenset()
    pins: tuple[tuple[str, str], ...] = ()
    """Reference and digest."""
    created: bool = True

    def plus(self, lines: Iterable[str]) -> Told:
        tried, acknowledged, pins, created = (
            set(self.tried),
            set(self.acknowledged),
            [*self.pins],
            self.created,
        )
        for line in lines:
            word, *rest = line.split()
            if word == "try":
                tried.update(range(int(rest[0]), int(rest[-1]) + 1))
            elif word == "ack":
                acknowledged.update(range(int(rest[0]), int(rest[-1]) + 1))
            elif word == "pin":
                pins.append((rest[0], rest[1]))
            elif word == "created":
                created = True
        return Told(frozenset(tried | acknowledged), frozenset(acknowledged), tuple(pins), created)


class Checked(NamedTuple):
    """What a check looked for, and what was wrong."""

    event_count: int
    problems: tuple[str, ...]


def append_each(
    lake: Lake, run_id: str, indices: Iterable[int], say: Say, *, land_after: int | None = None
) -> None:
    """Never closed: whoever dies, dies so. What follows `land_after` is written over what landed then."""
    writer = lake.writer(run_id)
    for index in indices:
        say(f"try {index}")
        writer.append(of_three_kinds([index]))
        say(f"ack {index}")
        if index == land_after:
            writer.land_spooled()


def append_many(lake: Lake, run_id: str, first: int, count: int, say: Say) -> None:
    """One call for all of them, then a clean close."""
    with lake.writer(run_id) as writer:
        say(f"try {first} {first + count - 1}")
        writer.append(of_three_kinds(range(first, first + count)))
        say(f"ack {first} {first + count - 1}")


def derive_sums(lake: Lake) -> None:
    """A derived table of the rewards that there are."""
    rewards = lake.scan("reward_assigned").group_by("rollout_id").agg(pl.col("score").sum()).collect()
    lake.derive(DERIVED, rewards, MADE)


def pin_all(lake: Lake, say: Say) -> None:
    pin = lake.pin("kept", lake.tables())
    say(f"pin {pin.reference} {pin.digest}")


def maintain(lake: Lake, upkeep: Upkeep = NOTHING_YOUNG) -> list[str]:
    """Tables put in order; why some of them were left as they are."""
    done = put_in_order(lake.store, upkeep=upkeep)
    return [table.problem for table in done if table.problem is not None]


def recover(root: Path) -> None:
    """What the documents tell to do after a crash; raises what is wrong."""
    lake = Lake.open(str(root))
    lake.project()
    found = lake.verify(deep=True)
    if not found.ok:
        raise AssertionError(f"verify: {found.problems[:3]}")


def reopened(root: Path | str, told: Told) -> Lake:
    """Where creating a lake was not told to be done, there may be none: then it is created now."""
    try:
        return Lake.open(str(root))
    except LakeMissingError:
        if told.created:
            raise
        return Lake.create(str(root))


def checked(root: Path | str, told: Told, *, work_on: bool = True) -> Checked:
    """For a process of its own: nothing may raise, whatever happened to the lake before."""
    try:
        return Checked(3 * len(told.acknowledged), tuple(_problems(root, told, work_on)))
    except (TracelakeError, OSError, ValueError, RuntimeError, AssertionError) as error:
        return Checked(0, (f"{type(error).__name__} while checking: {error}",))


def _problems(root: Path | str, told: Told, work_on: bool) -> Iterator[str]:
    lake = reopened(root, told)
    lake.project()
    yield from membership(lake, told)
    yield from (f"verify: {problem}" for problem in lake.verify(deep=True).problems)
    yield from pin_problems(lake, told.pins)
    before = digests(lake)
    again = Lake.open(str(root))
    again.project()
    if (after := digests(again)) != before:
        yield f"recovery is not idempotent: {before} then {after}"
    if work_on:
        yield from _work_goes_on(again, told)


def _work_goes_on(lake: Lake, told: Told) -> Iterator[str]:
    """A retry of everything that was tried, and something new."""
    indices = [*sorted(told.tried), AFTERWARDS]
    with lake.writer("afterwards") as writer:
        writer.append(of_three_kinds(indices))
    lake.project()
    every = Told(frozenset(indices), frozenset(indices), told.pins)
    yield from (f"after a retry: {problem}" for problem in membership(lake, every))
    yield from (f"after a retry: {problem}" for problem in pin_problems(lake, told.pins))
    yield from (f"after a retry: verify: {problem}" for problem in lake.verify().problems)


def membership(lake: Lake, told: Told) -> Iterator[str]:
    """Each event as often as was told."""
    held = Counter(event_id for kind in KINDS for event_id in ids_of(lake, kind))
    sure, possible = ids_of_indices(told.acknowledged), ids_of_indices(told.tried)
    if missing := sure - held.keys():
        yield f"{len(missing)} of {len(sure)} acknowledged events are lost"
    if doubled := [event_id for event_id, count in held.items() if count > 1]:
        yield f"{len(doubled)} events are in the table more than once"
    if strangers := held.keys() - possible:
        yield f"{len(strangers)} events were never appended"


def pin_problems(lake: Lake, pins: Iterable[tuple[str, str]]) -> Iterator[str]:
    """A pin is opened, which recomputes its digests, and compared with what was handed out."""
    for reference, digest in pins:
        try:
            found = lake.open_pin(reference).pin.digest
        except (TracelakeError, OSError) as error:
            yield f"pin {reference} that was handed out: {error}"
            continue
        if found != digest:
            yield f"pin {reference} has digest {found}, was handed out with {digest}"


def ids_of(lake: Lake, kind: str) -> list[str]:
    try:
        return table_ids(lake, kind)
    except TableMissingError:
        return []


_ids: dict[int, frozenset[str]] = {}


def ids_of_indices(indices: Iterable[int]) -> set[str]:
    """Named once per process."""
    found: set[str] = set()
    for index in indices:
        if index not in _ids:
            events: list[Event] = of_three_kinds([index])
            _ids[index] = frozenset(event_identity(event).event_id for event in events)
        found |= _ids[index]
    return found
