"""A lake beside a dict that says what it must hold: drawn runs of everything that a lake can do.

The model: index to the payloads told under it. After a projection the table holds each once; indices with
more payloads than one are told as conflicts and are in no pin; old pins read what they read when they were
made.
"""

from __future__ import annotations

import gc
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from tests.faults.children import side_by_side
from tests.faults.facts_of_model import Fact, event_of, id_of
from tests.faults.history import maintain
from tests.faults.scenario import Context, Counts, FaultFoundError
from tests.faults.zygote import Order, Zygote
from tests.lake.facts import digests, table_ids
from tracelake.lake import Lake
from tracelake.lake.writing.writer import Writer
from tracelake.schemas.events.lake_events import ConflictFound
from tracelake.schemas.events.rollout_events import RewardAssigned

RULES_FULL, RULES_SMALL = 10_000, 600
RUN_LENGTH = 30
EXAMPLES_AT_ONCE = 10
TABLE = RewardAssigned.KIND
FACTS = st.lists(
    st.builds(Fact, st.integers(0, 30), st.sampled_from([1.0, 1.0, 1.0, 1.0, 0.5])), min_size=1, max_size=5
)


class Pinned(NamedTuple):
    """A pin that was handed out, and what it read then."""

    reference: str
    digest: str
    event_ids: list[str]


class LakeBesideModel(RuleBasedStateMachine):
    """One lake per run."""

    folder: Path
    zygote: Zygote
    executed: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self._place = Path(tempfile.mkdtemp(dir=self.folder))
        self._lake = Lake.create(str(self._place / "lake"))
        self._writer: Writer | None = None
        self._judges = False
        """Whether the open writer has seen everything that was told: then its receipts are known."""
        self._payloads: dict[int, list[float]] = {}
        self._projected: dict[int, list[float]] = {}
        self._pins: list[Pinned] = []

    @rule(facts=FACTS)
    def append(self, facts: list[Fact]) -> None:
        self._append(facts)

    @rule(facts=FACTS)
    def append_twice(self, facts: list[Fact]) -> None:
        self._append(facts)
        receipt = self._append(facts)
        assert receipt.new_count == receipt.conflict_count == 0, receipt

    @rule(index=st.integers(0, 30))
    def append_a_conflict(self, index: int) -> None:
        self._append([Fact(index, 1.0), Fact(index, 0.25)])

    @rule(facts=FACTS)
    def append_and_die(self, facts: list[Fact]) -> None:
        self.executed["append_and_die"] += 1
        assert self.zygote.append_and_die(Order(Path(self._lake.uri), facts)), "the worker failed"
        self._told(facts)
        self._judges = False

    @rule()
    def flush(self) -> None:
        self.executed["flush"] += 1
        if self._writer is not None:
            self._writer.flush()

    @rule()
    def close(self) -> None:
        self.executed["close"] += 1
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    @rule()
    def abandon_and_reopen(self) -> None:
        """What the process held is gone without a close."""
        self.executed["abandon_and_reopen"] += 1
        self._writer = None
        self._lake = Lake.open(self._lake.uri)
        gc.collect()

    @rule()
    def project(self) -> None:
        self.executed["project"] += 1
        self._lake.project()
        self._projected = {index: list(scores) for index, scores in self._payloads.items()}
        self._compare()

    @precondition(lambda self: self._projected)
    @rule()
    def pin(self) -> None:
        self.executed["pin"] += 1
        pin = self._lake.pin("model", [TABLE])
        wanted = sorted(
            id_of(Fact(index, scores[0])) for index, scores in self._projected.items() if len(scores) == 1
        )
        assert _pinned_ids(self._lake, pin.reference) == wanted, "a pin holds other events than the model"
        self._pins.append(Pinned(pin.reference, pin.digest, wanted))

    @precondition(lambda self: self._pins)
    @rule(data=st.data())
    def open_an_old_pin(self, data: Any) -> None:
        self.executed["open_an_old_pin"] += 1
        old = data.draw(st.sampled_from(self._pins))
        assert self._lake.open_pin(old.reference).pin.digest == old.digest
        assert _pinned_ids(self._lake, old.reference) == old.event_ids, f"{old.reference} reads differently"

    @rule()
    def put_in_order(self) -> None:
        self.executed["put_in_order"] += 1
        assert maintain(self._lake) == []

    @rule()
    def verify(self) -> None:
        self.executed["verify"] += 1
        assert self._lake.verify(deep=True).problems == ()

    def teardown(self) -> None:
        try:
            self._lake.project()
            self._projected = self._payloads
            self._compare()
            before = digests(self._lake)
            self._lake = Lake.open(self._lake.uri)
            self._lake.project()
            assert digests(self._lake) == before, "a second projection changed the tables"
            assert self._lake.verify(deep=True).problems == ()
        finally:
            self._writer = None
            shutil.rmtree(self._place)

    def _append(self, facts: list[Fact]) -> Any:
        self.executed["append"] += 1
        if self._writer is None:
            self._writer = self._lake.writer("model")
            self._judges = True
        before = {index: list(scores) for index, scores in self._payloads.items()}
        receipt = self._writer.append([event_of(fact) for fact in facts])
        if self._judges:
            assert tuple(receipt) == _expected(before, facts), f"{receipt} of {facts} after {before}"
        self._told(facts)
        return receipt

    def _told(self, facts: list[Fact]) -> None:
        for fact in facts:
            scores = self._payloads.setdefault(fact.index, [])
            if fact.score not in scores:
                scores.append(fact.score)

    def _compare(self) -> None:
        if not self._projected:
            return
        wanted = sorted(
            id_of(Fact(index, score)) for index, scores in self._projected.items() for score in scores
        )
        assert table_ids(self._lake, TABLE) == wanted, "the table holds other events than the model"
        clashing = {
            id_of(Fact(index, score))
            for index, scores in self._projected.items()
            for score in scores
            if len(scores) > 1
        }
        told: set[str] = set()
        if ConflictFound.KIND in self._lake.tables():
            rows = self._lake.scan(ConflictFound.KIND).collect()
            told = {*rows["first_event_id"], *rows["other_event_id"]}
        assert told == clashing, f"{len(clashing)} events clash, {len(told)} were told"


def _expected(payloads: dict[int, list[float]], facts: list[Fact]) -> tuple[int, int, int]:
    new = duplicate = conflict = 0
    for fact in facts:
        scores = payloads.setdefault(fact.index, [])
        if not scores:
            new += 1
        elif fact.score in scores:
            duplicate += 1
        else:
            conflict += 1
        if fact.score not in scores:
            scores.append(fact.score)
    return new, duplicate, conflict


def _pinned_ids(lake: Lake, reference: str) -> list[str]:
    return sorted(lake.open_pin(reference).scan(TABLE).select("event_id").collect()["event_id"])


def run(context: Context) -> Counts:
    target = RULES_FULL if context.full else RULES_SMALL
    executed: Counter[str] = Counter()
    for part in side_by_side(_part, [(context, part, target // 2) for part in range(2)]):
        executed.update(part)
    detail = ", ".join(f"{name} {count:,}" for name, count in sorted(executed.items()) if name != "runs")
    return Counts(sum(executed.values()) - executed["runs"], "rules run", executed["runs"], detail)


def _part(context: Context, part: int, target: int) -> dict[str, int]:
    zygote = Zygote()
    executed: Counter[str] = Counter()
    turns = 0
    while sum(executed.values()) - executed["runs"] < target:
        trial = f"{part}.{turns}"
        turns += 1
        if context.trial is not None and context.trial != trial:
            if turns > 10_000:
                break
            continue
        try:
            _run(context, trial, zygote, executed)
        except Exception as error:
            notes = "\n".join(getattr(error, "__notes__", []))
            raise FaultFoundError(trial, [f"{type(error).__name__}: {error}\n{notes}"]) from error
        if context.trial is not None:
            break
    zygote.close()
    return dict(executed)


def _run(context: Context, trial: str, zygote: Zygote, executed: Counter[str]) -> None:
    class Machine(LakeBesideModel):
        pass

    Machine.folder, Machine.zygote, Machine.executed = context.folder, zygote, executed
    seeded(context.random(trial).randrange(2**32))(Machine)
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES_AT_ONCE,
            stateful_step_count=RUN_LENGTH,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=[
                HealthCheck.too_slow,
                HealthCheck.data_too_large,
                HealthCheck.large_base_example,
            ],
        ),
    )
    executed["runs"] += EXAMPLES_AT_ONCE
