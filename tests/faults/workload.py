"""Work on a lake, the record that workers report, and the check of the lake against that record.

A worker emits `try I` before it appends the events of index I, `ack I` after that, and `pin REFERENCE DIGEST`
when it has a pin.

**Acknowledged events are there exactly once.** Events that were tried and not acknowledged are there once or
not at all; events that were never tried are absent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import polars as pl

from tests.faults.children import Emit
from tests.lake.facts import digests, of_three_kinds, table_ids
from tracelake.lake import Lake
from tracelake.lake.maintenance.limits import DEFAULT_LIMITS, MaintenanceLimits
from tracelake.lake.maintenance.maintain import maintain as maintain_tables
from tracelake.lake.tables.derived import Derivation
from tracelake.schemas.errors import LakeMissingError, TableMissingError, TracelakeError
from tracelake.schemas.events.event import Event, event_identity

KINDS = ("turn_completed", "reward_assigned", "rollout_ended")
DERIVED = "sums"
SUMS = Derivation(key=("rollout_id",), code_version="1")
NO_AGE = timedelta(0)
NO_AGE_LIMITS = DEFAULT_LIMITS._replace(version_age=NO_AGE, derived_version_age=NO_AGE)
"""A scenario ends before a version reaches the age for cleanup. The protection of readers is unchanged."""
CHECK_INDEX = 900_000_000
"""First index of the events that a check appends to see that work continues."""


class WorkRecord(NamedTuple):
    """What all workers of a lake have reported."""

    tried: frozenset[int] = frozenset()
    acknowledged: frozenset[int] = frozenset()
    pins: tuple[tuple[str, str], ...] = ()
    """Reference and digest."""
    created: bool = True

    def plus(self, lines: Iterable[str]) -> WorkRecord:
        tried, acknowledged = set(self.tried), set(self.acknowledged)
        pins, created = [*self.pins], self.created
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
        return WorkRecord(frozenset(tried | acknowledged), frozenset(acknowledged), tuple(pins), created)


class CheckResult(NamedTuple):
    """How many events a check expected, and the problems that it found."""

    event_count: int
    problems: tuple[str, ...]


def append_each(
    lake: Lake, run_id: str, indices: Iterable[int], emit: Emit, *, land_after: int | None = None
) -> None:
    """One call per index. The writer is never closed, as after a crash.

    The spool lands after index `land_after`; later events then overwrite the segments that have landed.
    """
    writer = lake.writer(run_id)
    for index in indices:
        emit(f"try {index}")
        writer.append(of_three_kinds([index]))
        emit(f"ack {index}")
        if index == land_after:
            writer.land_spooled()


def append_many(lake: Lake, run_id: str, first: int, count: int, emit: Emit) -> None:
    """One call for all indices, then a clean close."""
    with lake.writer(run_id) as writer:
        emit(f"try {first} {first + count - 1}")
        writer.append(of_three_kinds(range(first, first + count)))
        emit(f"ack {first} {first + count - 1}")


def derive_sums(lake: Lake) -> None:
    """Derive a table from the current rewards."""
    rewards = lake.scan("reward_assigned").group_by("rollout_id").agg(pl.col("score").sum()).collect()
    lake.derive(DERIVED, rewards, SUMS)


def pin_all(lake: Lake, emit: Emit) -> None:
    pin = lake.pin("all-tables", lake.tables())
    emit(f"pin {pin.reference} {pin.digest}")


def maintain(lake: Lake, limits: MaintenanceLimits = NO_AGE_LIMITS) -> list[str]:
    """Maintain all tables now; the reasons why some of them were skipped."""
    done = maintain_tables(lake.store, limits=limits)
    return [table.problem for table in done if table.problem is not None]


def recover(root: Path) -> None:
    """The documented steps after a crash. Raises AssertionError for problems."""
    lake = Lake.open(str(root))
    lake.project()
    found = lake.verify(deep=True)
    if not found.ok:
        raise AssertionError(f"verify: {found.problems[:3]}")


def open_or_create(root: Path | str, record: WorkRecord) -> Lake:
    """Open the lake. If no worker reported its creation, it may be missing, and is created now."""
    try:
        return Lake.open(str(root))
    except LakeMissingError:
        if record.created:
            raise
        return Lake.create(str(root))


def check_lake(root: Path | str, record: WorkRecord, *, continue_work: bool = True) -> CheckResult:
    """Recover the lake and compare it with the record. Run it in a child: every error is a problem found."""
    try:
        problems = tuple(_problems(root, record, continue_work))
        return CheckResult(3 * len(record.acknowledged), problems)
    except (TracelakeError, OSError, ValueError, RuntimeError, AssertionError) as error:
        return CheckResult(0, (f"{type(error).__name__} while checking: {error}",))


def _problems(root: Path | str, record: WorkRecord, continue_work: bool) -> Iterator[str]:
    lake = open_or_create(root, record)
    lake.project()
    yield from event_problems(lake, record)
    yield from (f"verify: {problem}" for problem in lake.verify(deep=True).problems)
    yield from pin_problems(lake, record.pins)
    before = digests(lake)
    again = Lake.open(str(root))
    again.project()
    if (after := digests(again)) != before:
        yield f"recovery is not idempotent: {before} then {after}"
    if continue_work:
        yield from _retry_problems(again, record)


def _retry_problems(lake: Lake, record: WorkRecord) -> Iterator[str]:
    """Append everything that was tried once more, and one new index."""
    indices = [*sorted(record.tried), CHECK_INDEX]
    with lake.writer("afterwards") as writer:
        writer.append(of_three_kinds(indices))
    lake.project()
    expected = WorkRecord(frozenset(indices), frozenset(indices), record.pins)
    yield from (f"after a retry: {problem}" for problem in event_problems(lake, expected))
    yield from (f"after a retry: {problem}" for problem in pin_problems(lake, record.pins))
    yield from (f"after a retry: verify: {problem}" for problem in lake.verify().problems)


def event_problems(lake: Lake, record: WorkRecord) -> Iterator[str]:
    """Lost, duplicated and unknown events."""
    found = Counter(event_id for kind in KINDS for event_id in ids_of(lake, kind))
    certain, possible = ids_of_indices(record.acknowledged), ids_of_indices(record.tried)
    if missing := certain - found.keys():
        yield f"{len(missing)} of {len(certain)} acknowledged events are lost"
    if doubled := [event_id for event_id, count in found.items() if count > 1]:
        yield f"{len(doubled)} events are in the table more than once"
    if unknown := found.keys() - possible:
        yield f"{len(unknown)} events were never appended"


def pin_problems(lake: Lake, pins: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Open each pin, which recomputes its digests, and compare it with the digest that was reported."""
    for reference, digest in pins:
        try:
            found = lake.open_pin(reference).pin.digest
        except (TracelakeError, OSError) as error:
            yield f"pin {reference} cannot be opened: {error}"
            continue
        if found != digest:
            yield f"pin {reference} has digest {found}, and was reported with {digest}"


def ids_of(lake: Lake, kind: str) -> list[str]:
    try:
        return table_ids(lake, kind)
    except TableMissingError:
        return []


_ids: dict[int, frozenset[str]] = {}


def ids_of_indices(indices: Iterable[int]) -> set[str]:
    """Event ids of the indices; computed once per process."""
    found: set[str] = set()
    for index in indices:
        if index not in _ids:
            events: list[Event] = of_three_kinds([index])
            _ids[index] = frozenset(event_identity(event).event_id for event in events)
        found |= _ids[index]
    return found
