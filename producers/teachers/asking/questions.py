"""Questions: the distinct states of chosen traces, each with the context that the student saw.

Flow: filter over rollouts → their turns → one question per distinct state, ordered by trace and turn.

**Contexts are built on demand**: all of them together would grow with the square of a trace's length.
**Rollouts that builds leave out are left out**: no derived table would use the answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from tracelake.lake import Lake
from tracelake.schemas.context import CONTEXT_COLUMNS, ContextFold, TurnRow
from tracelake.schemas.errors import QueryError
from tracelake.schemas.message import Message
from tracelake.schemas.recordings import longest_recordings

if TYPE_CHECKING:
    import polars as pl

    from tracelake.lake.curation.selection import Selection

EVERY_TRACE = "all"
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

    lake.project()
    selection = lake.selection()
    started = _used(lake, "rollout_started", selection).select(STARTED_COLUMNS).collect()
    ended = _used(lake, "rollout_ended", selection).select(*ENDED_COLUMNS, "recording_length").collect()
    ended = longest_recordings(ended).select(ENDED_COLUMNS)
    rollouts = started.join(ended, on="rollout_id", how="left")
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

    selection = lake.selection()
    wanted = pl.col("rollout_id").is_in(sorted(set(rollout_ids)))
    columns = (*CONTEXT_COLUMNS, "state_key", "completion_token_count")
    turns = _used(lake, "turn_completed", selection).filter(wanted).select(columns).collect()
    started = _used(lake, "rollout_started", selection).filter(wanted)
    started = started.select("rollout_id", "tools_json").collect()
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


def _used(lake: Lake, kind: str, selection: Selection) -> pl.LazyFrame:
    """The events of a rollout's record that builds use."""
    import polars as pl

    discarded = pl.col("event_id").is_in(sorted(selection.discarded_ids))
    left_out = pl.col("rollout_id").is_in(sorted(selection.rollout_ids))
    return lake.scan(kind).filter(~(discarded | left_out))
