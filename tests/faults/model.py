"""Drawn sequences of operations on a lake, compared with a model: a dict of the payloads under each index.

After a projection the table contains each payload once. Indices with several payloads are in conflict: they
have `ConflictFound` events and are in no pin. Old pins read as they did when they were created.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import socket
import tempfile
from collections import Counter
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from tests.faults.children import complete_lines, fork_child, side_by_side
from tests.faults.scenario import Context, Counts, FaultFoundError
from tests.faults.workload import maintain
from tests.lake.facts import digests, table_ids
from tracelake.lake import Lake
from tracelake.lake.writing.writer import Writer
from tracelake.schemas.events.event import event_identity
from tracelake.schemas.events.lake_events import ConflictFound
from tracelake.schemas.events.rollout_events import RewardAssigned

RULES_FULL, RULES_SMALL = 10_000, 600
RUN_LENGTH = 30
EXAMPLES_AT_ONCE = 10
TABLE = RewardAssigned.KIND


class Fact(NamedTuple):
    """Index is the natural key, score the payload; two scores under one index are a conflict."""

    index: int
    score: float


FACTS = st.lists(
    st.builds(Fact, st.integers(0, 30), st.sampled_from([1.0, 1.0, 1.0, 1.0, 0.5])), min_size=1, max_size=5
)


def event_of(fact: Fact) -> RewardAssigned:
    return RewardAssigned(rollout_id=f"r{fact.index}", name="reward", score=fact.score, grader="tests")


@cache
def id_of(fact: Fact) -> str:
    return event_identity(event_of(fact)).event_id


class ForkServer:
    """A process that forks workers on demand, for a process that can no longer be forked.

    Started before its user opens a lake. It never opens a lake itself. Each worker appends, acknowledges, and
    is killed with SIGKILL before it can close anything.
    """

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

        def serve(_: int) -> None:
            # With this copy open, the server would not notice that its user has closed the socket.
            self._ours.close()
            _serve_appends(theirs)

        self._child = fork_child(serve)
        theirs.close()

    def append_and_die(self, root: Path, facts: list[Fact]) -> bool:
        """Whether the worker's append was acknowledged."""
        encoded = ";".join(f"{fact.index},{fact.score}" for fact in facts)
        self._ours.send(f"{root}\n{encoded}".encode())
        return self._ours.recv(100) == b"acknowledged"

    def close(self) -> None:
        self._ours.close()
        os.close(self._child.pipe)
        os.waitpid(self._child.pid, 0)


def _serve_appends(requests: socket.socket) -> None:
    while message := requests.recv(2**16):
        root, encoded = message.decode().split("\n")
        pairs = (fact.split(",") for fact in encoded.split(";"))
        facts = [Fact(int(index), float(score)) for index, score in pairs]
        worker = fork_child(partial(_append_and_die, Path(root), facts))
        output = b""
        while data := os.read(worker.pipe, 2**16):
            output += data
        os.close(worker.pipe)
        os.waitpid(worker.pid, 0)
        requests.send(b"acknowledged" if complete_lines(output) == ["acknowledged"] else b"failed")


def _append_and_die(root: Path, facts: list[Fact], pipe: int) -> None:
    writer = Lake.open(str(root)).writer("killed")
    writer.append([event_of(fact) for fact in facts])
    os.write(pipe, b"acknowledged\n")
    os.kill(os.getpid(), signal.SIGKILL)


class PinnedIds(NamedTuple):
    """A pin and the events that it contained when it was created."""

    reference: str
    digest: str
    event_ids: list[str]


class LakeAndModel(RuleBasedStateMachine):
    """Runs each drawn operation on a lake and on the model; one lake per run."""

    folder: Path
    fork_server: ForkServer
    executed: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self._folder = Path(tempfile.mkdtemp(dir=self.folder))
        self._lake = Lake.create(str(self._folder / "lake"))
        self._writer: Writer | None = None
        self._knows_receipts = False
        """Whether the open writer has seen all earlier events, so that the model can predict its receipts."""
        self._payloads: dict[int, list[float]] = {}
        self._projected: dict[int, list[float]] = {}
        self._pins: list[PinnedIds] = []

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
        assert self.fork_server.append_and_die(Path(self._lake.uri), facts), "the worker failed"
        self._add_to_model(facts)
        self._knows_receipts = False

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
        """Lose the writer without closing it."""
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
        expected = sorted(
            id_of(Fact(index, scores[0])) for index, scores in self._projected.items() if len(scores) == 1
        )
        assert _pinned_ids(self._lake, pin.reference) == expected, "the pin and the model have other events"
        self._pins.append(PinnedIds(pin.reference, pin.digest, expected))

    @precondition(lambda self: self._pins)
    @rule(data=st.data())
    def open_an_old_pin(self, data: Any) -> None:
        self.executed["open_an_old_pin"] += 1
        old = data.draw(st.sampled_from(self._pins))
        assert self._lake.open_pin(old.reference).pin.digest == old.digest
        assert _pinned_ids(self._lake, old.reference) == old.event_ids, f"{old.reference} reads differently"

    @rule()
    def maintain(self) -> None:
        self.executed["maintain"] += 1
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
            shutil.rmtree(self._folder)

    def _append(self, facts: list[Fact]) -> Any:
        self.executed["append"] += 1
        if self._writer is None:
            self._writer = self._lake.writer("model")
            self._knows_receipts = True
        before = {index: list(scores) for index, scores in self._payloads.items()}
        receipt = self._writer.append([event_of(fact) for fact in facts])
        if self._knows_receipts:
            assert tuple(receipt) == _expected_receipt(before, facts), f"{receipt} of {facts} after {before}"
        self._add_to_model(facts)
        return receipt

    def _add_to_model(self, facts: list[Fact]) -> None:
        for fact in facts:
            scores = self._payloads.setdefault(fact.index, [])
            if fact.score not in scores:
                scores.append(fact.score)

    def _compare(self) -> None:
        if not self._projected:
            return
        facts = [Fact(index, score) for index, scores in self._projected.items() for score in scores]
        expected = sorted(map(id_of, facts))
        assert table_ids(self._lake, TABLE) == expected, "the table and the model have other events"
        in_conflict = {id_of(fact) for fact in facts if len(self._projected[fact.index]) > 1}
        found: set[str] = set()
        if ConflictFound.KIND in self._lake.tables():
            rows = self._lake.scan(ConflictFound.KIND).collect()
            found = {*rows["first_event_id"], *rows["other_event_id"]}
        assert found == in_conflict, f"{len(in_conflict)} events are in conflict, {len(found)} were found"


def _expected_receipt(payloads: dict[int, list[float]], facts: list[Fact]) -> tuple[int, int, int]:
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
    for part in side_by_side(_run_part, [(context, part, target // 2) for part in range(2)]):
        executed.update(part)
    detail = ", ".join(f"{name} {count:,}" for name, count in sorted(executed.items()) if name != "runs")
    return Counts(sum(executed.values()) - executed["runs"], "rules run", executed["runs"], detail)


def _run_part(context: Context, part: int, target: int) -> dict[str, int]:
    fork_server = ForkServer()
    executed: Counter[str] = Counter()
    trial_count = 0
    while sum(executed.values()) - executed["runs"] < target:
        trial = f"{part}.{trial_count}"
        trial_count += 1
        if context.trial is not None and context.trial != trial:
            if trial_count > 10_000:
                break
            continue
        try:
            _run_trial(context, trial, fork_server, executed)
        except Exception as error:
            notes = "\n".join(getattr(error, "__notes__", []))
            raise FaultFoundError(trial, [f"{type(error).__name__}: {error}\n{notes}"]) from error
        if context.trial is not None:
            break
    fork_server.close()
    return dict(executed)


def _run_trial(context: Context, trial: str, fork_server: ForkServer, executed: Counter[str]) -> None:
    class Machine(LakeAndModel):
        pass

    Machine.folder, Machine.fork_server, Machine.executed = context.folder, fork_server, executed
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
