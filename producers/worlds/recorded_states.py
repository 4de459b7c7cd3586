"""The world `recorded-states`: a recorded context, one action, and its similarity to the preferred action.

For recordings whose environment cannot be run. It exercises the whole path of training on real contexts; its
reward does not show whether an action would have worked.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson
import polars as pl

from tracelake.schemas.canonical import hash_of
from tracelake.schemas.environment import Environment, TaskIdentity, ToolDefinition, ToolOutcome
from tracelake.schemas.errors import BadInputError
from tracelake.schemas.message import Message, canonical_action
from tracelake.schemas.world import World

NAME = "recorded-states"
HELD_OUT_EVERY = 5
# A small policy cannot answer a context longer than its window.
PROMPT_CHARACTERS_MAX = 900


class RecordedState(NamedTuple):
    """One state with its preferred action."""

    task_id: str
    task_hash: str
    prompt: list[Message]
    preferred_action: str
    """Canonical action."""
    cluster: str


def recorded_world(training_rows: pl.DataFrame) -> World:
    """A world over the states of pinned training rows; every fifth task is held out.

    Raises BadInputError if a split would be empty.
    """
    states = _states(training_rows)
    train, heldout = [], []
    for state in states:
        (train if int(state.task_hash[:8], 16) % HELD_OUT_EVERY else heldout).append(state)
    if not (train and heldout):
        raise BadInputError(
            "too few recorded states for two splits",
            got=f"{len(states)} states",
            expected="at least one in each split",
        )

    def sample(split: list[RecordedState], seed: int, count: int) -> Sequence[TaskIdentity]:
        ordered = sorted(split, key=lambda state: hash_of([seed, state.task_hash]))
        return [ordered[index % len(ordered)] for index in range(count)]

    return World(
        name=NAME,
        train_tasks=lambda seed, count: sample(train, seed, count),
        heldout_tasks=lambda seed, count: sample(heldout, seed, min(count, len(heldout))),
        new_environment=RecordedEnvironment,
        cluster_of=lambda task: task.cluster if isinstance(task, RecordedState) else task.task_id,
    )


class RecordedEnvironment(Environment):
    """Shows a recorded context; any action ends the rollout."""

    def __init__(self) -> None:
        self._state: RecordedState | None = None
        self._action = ""

    @property
    def tools(self) -> Sequence[ToolDefinition]:
        return ()

    def reset(self, task: Any) -> list[Message]:
        self._state, self._action = task, ""
        return list(task.prompt)

    def call(self, name: str, arguments_json: str) -> ToolOutcome:
        message = {"tool_calls": [{"function": {"name": name, "arguments": arguments_json}}]}
        self._action = canonical_action(message)
        return ToolOutcome("", "", None, True, 0.0)

    def rewards(self) -> dict[str, float]:
        """Similarity of the action and the preferred action, from 0 to 1."""
        assert self._state is not None
        similarity = difflib.SequenceMatcher(
            None, self._action, self._state.preferred_action, autojunk=False
        ).ratio()
        return {"reward": similarity}


def _states(training_rows: pl.DataFrame) -> list[RecordedState]:
    short = training_rows.filter(pl.col("prompt_json").str.len_chars() <= PROMPT_CHARACTERS_MAX)
    first = short.sort("state_key", "pair_id").unique("state_key", keep="first").sort("state_key")
    return [
        RecordedState(
            task_id=row["state_key"][:16],
            task_hash=row["state_key"],
            prompt=orjson.loads(row["prompt_json"]),
            preferred_action=canonical_action(orjson.loads(row["chosen_json"])),
            cluster=row["task_key"] or row["state_key"],
        )
        for row in first.iter_rows(named=True)
    ]
