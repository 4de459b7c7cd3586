"""Rollouts of a pin: the events of each together, with contexts and token ids folded.

**Rollouts are those of the pinned `trajectories`, turns those of the pinned `turns`**: what a build left out,
because it is in conflict or retracted, is in no export.
**Rollouts are read in batches**, so that memory does not grow with the pin.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import polars as pl

from tracelake.consumers.exports.pinned_tables import batches_by, scan_or_empty
from tracelake.lake.pins.pins import OpenPin
from tracelake.schemas.context import CONTEXT_COLUMNS, ContextFold
from tracelake.schemas.message import Message
from tracelake.schemas.tokens import TOKEN_COLUMNS, PromptFold

ROLLOUT_TABLES = (
    "rollout_started",
    "turn_completed",
    "tool_returned",
    "reward_assigned",
    "rollout_ended",
    "turns",
    "trajectories",
)
ROLLOUTS_PER_BATCH = 128

Row = dict[str, Any]


class Rollout:
    """One rollout; rows have the columns of their tables."""

    def __init__(
        self, summary: Row, started: Row, turns: list[Row], results: list[Row], rewards: list[Row], ended: Row
    ) -> None:
        self.summary = summary
        """Its row of `trajectories`."""
        self.started = started
        self.turns = turns
        """Ordered by turn."""
        self.rewards = rewards
        """Of the rollout and of its turns."""
        self.ended = ended
        """The event of its longest recording; empty if it has not ended."""
        self._results: dict[int, list[Row]] = defaultdict(list)
        for result in results:
            self._results[result["turn_index"]].append(result)

    @property
    def rollout_id(self) -> str:
        return self.started["rollout_id"]

    def results(self, turn_index: int) -> list[Row]:
        """Tool results of a turn in order."""
        return self._results.get(turn_index, [])

    def context(self, turn_index: int) -> list[Message]:
        return self._contexts.context(self.rollout_id, turn_index)

    def new_messages(self, turn_index: int) -> list[Message]:
        return self._contexts.new_messages(self.rollout_id, turn_index)

    def action(self, turn_index: int) -> Message:
        return self._contexts.action(self.rollout_id, turn_index)

    def prompt_ids(self, turn_index: int) -> list[int] | None:
        """Token ids of the whole context; null if there are none."""
        ids = self._prompts.prompt(self.rollout_id, turn_index).ids
        return None if ids is None else list(ids)

    @cached_property
    def _contexts(self) -> ContextFold:
        return ContextFold([tuple(turn[name] for name in CONTEXT_COLUMNS) for turn in self.turns])

    @cached_property
    def _prompts(self) -> PromptFold:
        return PromptFold([tuple(turn[name] for name in TOKEN_COLUMNS) for turn in self.turns])


def rollouts(pin: OpenPin) -> Iterator[Rollout]:
    """Rollouts ordered by id. The pin must have `ROLLOUT_TABLES`."""
    for ids in batches_by(pin.scan("trajectories"), "rollout_id", ROLLOUTS_PER_BATCH):
        yield from _batch(pin, ids)


def _batch(pin: OpenPin, ids: list[str]) -> Iterator[Rollout]:
    def rows(table: str, *order: str) -> pl.DataFrame:
        wanted = pl.col("rollout_id").is_in(ids)
        return scan_or_empty(pin, table).filter(wanted).collect().sort(order, nulls_last=True)

    turns_of_build = rows("turns", "rollout_id").select("event_id")
    turns = rows("turn_completed", "rollout_id", "turn_index").join(
        turns_of_build, on="event_id", how="semi", maintain_order="left"
    )
    # The longest recording comes last; one that was written live has no length, and is the only one.
    ended = rows("rollout_ended", "rollout_id", "recording_length", "event_id")
    parts = {
        "turns": _by_rollout(turns),
        "results": _by_rollout(rows("tool_returned", "rollout_id", "turn_index", "call_index", "event_id")),
        "rewards": _by_rollout(rows("reward_assigned", "rollout_id", "turn_index", "name", "event_id")),
    }
    last = {row["rollout_id"]: row for row in ended.iter_rows(named=True)}
    started = {row["rollout_id"]: row for row in rows("rollout_started", "rollout_id").iter_rows(named=True)}
    for summary in rows("trajectories", "rollout_id").iter_rows(named=True):
        rollout_id = summary["rollout_id"]
        of_rollout = {name: groups.get(rollout_id, []) for name, groups in parts.items()}
        yield Rollout(summary, started[rollout_id], ended=last.get(rollout_id, {}), **of_rollout)


def _by_rollout(frame: pl.DataFrame) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in frame.iter_rows(named=True):
        groups[row["rollout_id"]].append(row)
    return groups
