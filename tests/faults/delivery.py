"""Deliveries as networks make them: again, out of order, with gaps, by several writers, with wrong clocks.

Hypothesis draws facts and how they are delivered; afterwards the table has one row per fact delivered,
whatever the order, and in it the order of acceptance is that of the calls, not of anybody's clock.
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
CLOCKS = st.sampled_from([0, -1, 1, 3_600, -86_400, 315_360_000, -1_700_000_000])
"""Seconds by which a producer's clock is wrong."""
START = datetime(2026, 11, 1, tzinfo=UTC)


class Call(NamedTuple):
    """One append."""

    writer: int
    facts: list[int]


class Delivery(NamedTuple):
    """Calls in the order in which they arrive, and the clock of each fact's producer."""

    calls: list[Call]
    clocks: list[int]
    reopen: bool


def deliveries() -> st.SearchStrategy[Delivery]:
    """Drawn facts repeat and leave gaps by themselves."""
    call = st.builds(Call, st.integers(0, 2), st.lists(st.integers(0, FACTS_MAX - 1), min_size=1, max_size=6))
    clocks = st.lists(CLOCKS, min_size=FACTS_MAX, max_size=FACTS_MAX)
    return st.builds(Delivery, st.lists(call, min_size=1, max_size=8), clocks, st.booleans())


class Tally(NamedTuple):
    """What a part of the examples did."""

    deliveries: int
    repeated: int
    checked: int


def run(context: Context) -> Counts:
    examples = EXAMPLES_FULL if context.full else EXAMPLES_SMALL
    tallies = side_by_side(_part, [(context, part, examples // 2) for part in range(2)])
    totals = Tally(*(sum(values) for values in zip(*tallies, strict=True)))
    return Counts(
        totals.deliveries,
        "deliveries",
        totals.checked,
        f"facts delivered again {totals.repeated:,}; one row per fact in all",
    )


def _part(context: Context, part: int, examples: int) -> Tally:
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
            checked = delivered_once(folder / "lake", delivery)
        finally:
            shutil.rmtree(folder)
        told = [fact for call in delivery.calls for fact in call.facts]
        totals.update(deliveries=len(delivery.calls), repeated=len(told) - len(set(told)), checked=checked)

    try:
        every_delivery()
    except AssertionError as error:
        raise FaultFoundError("every", [str(error), *getattr(error, "__notes__", [])]) from error
    return Tally(totals["deliveries"], totals["repeated"], totals["checked"])


def fact(number: int, clock_seconds: int) -> Event:
    return RewardAssigned(
        rollout_id=f"r{number}",
        name="reward",
        score=float(number),
        grader="tests",
        occurred_at=START + timedelta(seconds=number + clock_seconds),
    )


def delivered_once(root: Path, delivery: Delivery) -> int:
    """Raises AssertionError; returns the rows looked at."""
    lake = Lake.create(str(root))
    writers = [lake.writer(f"run-{number}") for number in range(3)]
    order: dict[int, list[str]] = {}
    for number, call in enumerate(delivery.calls):
        if delivery.reopen and number % 2:
            writers[call.writer].close()
            writers[call.writer] = lake.writer(f"run-{call.writer}")
        events = [fact(told, delivery.clocks[told]) for told in call.facts]
        writers[call.writer].append(events)
        order.setdefault(call.writer, []).extend(event_identity(event).event_id for event in events)
        if number % 3 == 2:
            lake.project()
    for writer in writers:
        writer.close()
    lake.project()
    told = {number for call in delivery.calls for number in call.facts}
    wanted = sorted(event_identity(fact(number, delivery.clocks[number])).event_id for number in told)
    found = table_ids(lake, "reward_assigned")
    assert found == wanted, f"{len(found)} rows of {len(wanted)} facts"
    rows = lake.scan("reward_assigned").collect().sort("writer_epoch", "writer_seq")
    for (_,), of_epoch in rows.group_by("writer_epoch", maintain_order=True):
        times = of_epoch["recorded_at"].to_list()
        assert times == sorted(times), "sequence numbers run against the times of recording"
        _assert_in_order(of_epoch["event_id"].to_list(), list(order.values()))
    assert lake.verify(deep=True).ok
    return len(found)


def _assert_in_order(accepted: list[str], told: list[list[str]]) -> None:
    """An epoch's rows are in the order in which its writer was given them, for some writer."""
    orders = [list(dict.fromkeys(event_id for event_id in ids if event_id in set(accepted))) for ids in told]
    # A fact that another writer was first with may stand in another epoch: what is here keeps its order.
    assert any(_is_within(accepted, ids) for ids in (*orders, *told)), "an epoch's rows are out of order"


def _is_within(few: list[str], many: list[str]) -> bool:
    rest = iter(many)
    return all(event_id in rest for event_id in few)
