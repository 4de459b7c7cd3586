"""Small events for tests, and functions that read the contents of a lake."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tracelake.lake import Lake
from tracelake.lake.landed.reading import read_landed
from tracelake.lake.layout import EVENTS, kind_prefix, parse_landed_path
from tracelake.lake.stores.store import ObjectStore
from tracelake.schemas.events.event import Event
from tracelake.schemas.events.rollout_events import RewardAssigned, RolloutEnded, TurnCompleted


def reward(index: int, score: float = 1.0) -> RewardAssigned:
    return RewardAssigned(rollout_id=f"r{index}", name="reward", score=score, grader="tests")


def ended(index: int) -> RolloutEnded:
    return RolloutEnded(rollout_id=f"r{index}", stop_reason="completed", turn_count=1)


def turn(index: int, **fields: Any) -> TurnCompleted:
    return TurnCompleted(
        rollout_id=f"r{index}",
        turn_index=0,
        state_key=f"s{index}",
        context_length=1,
        new_messages_json='[{"content":"do it","role":"user"}]',
        action_json='{"content":"done","role":"assistant"}',
        **fields,
    )


def of_three_kinds(indices: Iterable[int]) -> list[Event]:
    """A turn, a reward and an end of each rollout."""
    return [make(index) for index in indices for make in (turn, reward, ended)]


def landed_ids(store: ObjectStore, kind: str | None = None) -> list[str]:
    """Event ids of landed files, as often as they have landed."""
    paths = store.list(EVENTS if kind is None else kind_prefix(kind), ".parquet")
    return [
        event_id
        for path in paths
        for event_id in read_landed(store, path, ["event_id"])["event_id"].to_pylist()
    ]


def landed_seqs(store: ObjectStore) -> dict[str, list[int]]:
    """Sequence numbers by epoch, sorted."""
    seqs: dict[str, list[int]] = {}
    for path in store.list(EVENTS, ".parquet"):
        numbers = read_landed(store, path, ["writer_seq"])["writer_seq"].to_pylist()
        seqs.setdefault(parse_landed_path(path).writer_epoch, []).extend(numbers)
    return {epoch: sorted(numbers) for epoch, numbers in seqs.items()}


def table_ids(lake: Lake, kind: str) -> list[str]:
    return sorted(lake.scan(kind).select("event_id").collect()["event_id"])


def digests(lake: Lake) -> dict[str, tuple[int, str]]:
    """Rows and digest of each table as it is now."""
    return {name: (state.row_count, state.digest) for name in lake.tables() for state in [lake.state(name)]}
