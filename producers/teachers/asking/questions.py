"""Questions: the distinct states of chosen traces, each with the context that the student saw.

Flow: filter over rollouts → their turns → one question per distinct state, ordered by trace and turn.

**Contexts are built on demand**: all of them together would grow with the square of a trace's length.
**Rollouts in conflict are left out**: no derived table would use the answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from tracelake.lake import Lake
from tracelake.schemas.context import CONTEXT_COLUMNS, ContextFold, TurnRow
from tracelake.schemas.errors import QueryError
from tracelake.schemas.message import Message

EVERY_TRACE = "all"
KINDS = ("rollout_started", "rollout_ended", "turn_completed", "conflict_found")
STARTED_COLUMNS = (
    "rollout_id",
    "task_key",
    "environment",
    "substrate",
    "substrate_version",
    "source_run",
    "group_id",
    "trial_index",
    "model_requested",
    "policy_version",
    "source_uri",
    "run_id",
)
ENDED_COLUMNS = ("rollout_id", "stop_reason", "exit_status", "turn_count")
RECORD_KINDS = ("rollout_started", "turn_completed", "tool_returned", "rollout_ended")


class Contexts(ContextFold):
    """Contexts that share their parsed messages: do not change them."""

    def __init__(self, turns: Sequence[TurnRow]) -> None:
        super().__init__(turns)
        self._new: dict[tuple[str, int], list[Message]] = {}
        self._actions: dict[tuple[str, int], Message] = {}

    def new_messages(self, rollout_id: str, turn_index: int) -> list[Message]:
        key = (rollout_id, turn_index)
        if key not in self._new:
            self._new[key] = super().new_messages(rollout_id, turn_index)
        return self._new[key]

    def action(self, rollout_id: str, turn_index: int) -> Message:
        key = (rollout_id, turn_index)
        if key not in self._actions:
            self._actions[key] = super().action(rollout_id, turn_index)
        return self._actions[key]


class Question(NamedTuple):
    """One state to ask teachers about."""

    state_key: str
    rollout_id: str
    turn_index: int
    contexts: Contexts
    tools: list[dict[str, Any]]
    completion_token_count: int | None
    """Of the student's own action at this turn."""

    @property
    def messages(self) -> list[Message]:
        """The student's context, built on every call."""
        return self.contexts.context(self.rollout_id, self.turn_index)


def select(lake: Lake, where: str) -> list[Question]:
    """Questions of the traces that meet an SQL condition over the columns of rollouts, or of `all` traces.

    Raises QueryError."""
    import polars as pl

    lake.project(KINDS)
    started = lake.scan("rollout_started").select(STARTED_COLUMNS).collect()
    ended = lake.scan("rollout_ended").select(ENDED_COLUMNS).collect()
    rollouts = started.join(ended.unique("rollout_id", keep="any"), on="rollout_id", how="left")
    if where.strip().lower() == EVERY_TRACE:
        chosen = rollouts
    else:
        context = pl.SQLContext(rollouts=rollouts)
        try:
            chosen = context.execute(f"SELECT rollout_id FROM rollouts WHERE {where}", eager=True)
        except pl.exceptions.PolarsError as error:
            raise QueryError(
                "the condition over traces cannot be evaluated",
                got=f"{where}: {str(error).splitlines()[0]}",
                expected=f"`{EVERY_TRACE}`, or an SQL condition over {', '.join(rollouts.columns)}",
                cure="For instance: \"task_key = 'x' AND turn_count > 3\".",
            ) from error
    return questions_of(lake, chosen["rollout_id"].to_list())


def questions_of(lake: Lake, rollout_ids: Sequence[str]) -> list[Question]:
    """The distinct states of these rollouts, each at its first occurrence by rollout and turn."""
    import polars as pl

    wanted = pl.col("rollout_id").is_in(sorted(set(rollout_ids) - _in_conflict(lake)))
    columns = (*CONTEXT_COLUMNS, "state_key", "completion_token_count")
    turns = lake.scan("turn_completed").filter(wanted).select(columns).collect()
    started = lake.scan("rollout_started").filter(wanted).select("rollout_id", "tools_json").collect()
    tools = {rollout_id: orjson.loads(text) if text else [] for rollout_id, text in started.iter_rows()}
    # One pass over all turns: one selection per trace would cost more than everything else here.
    by_rollout: dict[str, list[TurnRow]] = {}
    for turn in turns.select(CONTEXT_COLUMNS).iter_rows():
        by_rollout.setdefault(turn[0], []).append(turn)
    contexts = {rollout_id: Contexts(own) for rollout_id, own in by_rollout.items()}
    first = turns.sort("rollout_id", "turn_index").unique("state_key", keep="first", maintain_order=True)
    names = ("state_key", "rollout_id", "turn_index", "completion_token_count")
    return [
        Question(state, rollout, turn, contexts[rollout], tools.get(rollout, []), count)
        for state, rollout, turn, count in first.select(names).iter_rows()
    ]


def _in_conflict(lake: Lake) -> set[str]:
    import polars as pl

    found = lake.scan("conflict_found").filter(pl.col("conflict_kind").is_in(RECORD_KINDS))
    return set(found.select("rollout_id").collect()["rollout_id"].drop_nulls())
