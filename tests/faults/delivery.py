"""Deliveries as networks produce them: repeated, reordered, with gaps, by several writers, with wrong clocks.

Hypothesis draws events and the order of their delivery. Afterwards the table has one row per delivered event,
and the rows of each writer are in the order of its calls, whatever the producers' clocks say.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from tests.faults.children import side_by_side
from tests.faults.scenario import Context, Counts, FaultFoundError
from tests.lake.facts import table_ids
from tracelake.lake import Lake
from tracelake.schemas.events.event import Event, event_identity
from tracelake.schemas.events.rollout_events import RewardAssigned

EXAMPLES_FULL, EXAMPLES_SMALL = 300, 25
FACTS_MAX = 12
CLOCK_ERRORS = st.sampled_from([0, -1, 1, 3_600, -86_400, 315_360_000, -1_700_000_000])
"""Seconds by which a producer's clock is wrong."""
START = datetime(2026, 11, 1, tzinfo=UTC)


class Append(NamedTuple):
    """One call of `append`."""

    writer: int
    facts: list[int]


class Delivery(NamedTuple):
    """Calls in the order of their arrival, and the clock error of each fact's producer."""

    calls: list[Append]
    clock_errors: list[int]
    reopen: bool


def deliveries() -> st.SearchStrategy[Delivery]:
    """Facts are drawn with repetition, so that some repeat and some are missing."""
    call = st.builds(
        Append, st.integers(0, 2), st.lists(st.integers(0, FACTS_MAX - 1), min_size=1, max_size=6)
    )
    clock_errors = st.lists(CLOCK_ERRORS, min_size=FACTS_MAX, max_size=FACTS_MAX)
    return st.builds(Delivery, st.lists(call, min_size=1, max_size=8), clock_errors, st.booleans())


class DeliveryCounts(NamedTuple):
    """Counts of one process's examples."""

    deliveries: int
    repeated: int
    check_count: int


def run(context: Context) -> Counts:
    examples = EXAMPLES_FULL if context.full else EXAMPLES_SMALL
    parts = side_by_side(_run_part, [(context, part, examples // 2) for part in range(2)])
    totals = DeliveryCounts(*(sum(values) for values in zip(*parts, strict=True)))
    return Counts(
        totals.deliveries,
        "deliveries",
        totals.check_count,
        f"events delivered again {totals.repeated:,}; exactly one row per event",
    )


def _run_part(context: Context, part: int, examples: int) -> DeliveryCounts:
    totals: Counter[str] = Counter()

    @seeded(context.random("delivery", part).randrange(2**32))
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(delivery=deliveries())
    def every_delivery(delivery: Delivery) -> None:
        folder = Path(tempfile.mkdtemp(dir=context.folder))
        try:
            row_count = deliver_and_check(folder / "lake", delivery)
        finally:
            shutil.rmtree(folder)
        facts = [fact for call in delivery.calls for fact in call.facts]
        repeated = len(facts) - len(set(facts))
        totals.update(deliveries=len(delivery.calls), repeated=repeated, rows=row_count)

    try:
        every_delivery()
    except AssertionError as error:
        raise FaultFoundError("every", [str(error), *getattr(error, "__notes__", [])]) from error
    return DeliveryCounts(totals["deliveries"], totals["repeated"], totals["rows"])


def event_of(number: int, clock_error_s: int) -> Event:
    return RewardAssigned(
        rollout_id=f"r{number}",
        name="reward",
        score=float(number),
        grader="tests",
        occurred_at=START + timedelta(seconds=number + clock_error_s),
    )


def deliver_and_check(root: Path, delivery: Delivery) -> int:
    """Raises AssertionError; returns the number of checked rows."""
    lake = Lake.create(str(root))
    writers = [lake.writer(f"run-{number}") for number in range(3)]
    given_ids: dict[int, list[str]] = {}
    for number, call in enumerate(delivery.calls):
        if delivery.reopen and number % 2:
            writers[call.writer].close()
            writers[call.writer] = lake.writer(f"run-{call.writer}")
        events = [event_of(fact, delivery.clock_errors[fact]) for fact in call.facts]
        writers[call.writer].append(events)
        given_ids.setdefault(call.writer, []).extend(event_identity(event).event_id for event in events)
        if number % 3 == 2:
            lake.project()
    for writer in writers:
        writer.close()
    lake.project()
    facts = {fact for call in delivery.calls for fact in call.facts}
    expected = sorted(event_identity(event_of(fact, delivery.clock_errors[fact])).event_id for fact in facts)
    found = table_ids(lake, "reward_assigned")
    assert found == expected, f"{len(found)} rows of {len(expected)} facts"
    rows = lake.scan("reward_assigned").collect().sort("writer_epoch", "writer_seq")
    for (_,), of_epoch in rows.group_by("writer_epoch", maintain_order=True):
        times = of_epoch["recorded_at"].to_list()
        assert times == sorted(times), "the order of sequence numbers differs from that of recording times"
        _assert_in_order(of_epoch["event_id"].to_list(), list(given_ids.values()))
    assert lake.verify(deep=True).ok
    return len(found)


def _assert_in_order(accepted: list[str], given_ids: list[list[str]]) -> None:
    """The rows of an epoch are in the order in which some writer was given them."""
    orders = [
        list(dict.fromkeys(event_id for event_id in ids if event_id in set(accepted))) for ids in given_ids
    ]
    # An event that another writer accepted first is in another epoch. The remaining rows stay in order.
    assert any(_is_subsequence(accepted, ids) for ids in (*orders, *given_ids)), (
        "an epoch's rows are out of order"
    )


def _is_subsequence(few: list[str], many: list[str]) -> bool:
    rest = iter(many)
    return all(event_id in rest for event_id in few)
