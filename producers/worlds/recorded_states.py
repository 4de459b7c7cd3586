"""A world made of recorded states: the context is given, one action is taken, agreement with the preferred
action is the reward.

It is a stand-in where the recorded environment cannot be run: it exercises the whole path of training on
real contexts, and says nothing about whether an action would have worked.
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
# A context beyond a small policy's window could only be answered with nothing.
PROMPT_CHARACTERS_MAX = 900


class RecordedState(NamedTuple):
    """One state with the action that is preferred there."""

    task_id: str
    task_hash: str
    prompt: list[Message]
    preferred_action: str
    """Canonical action."""
    cluster: str


def recorded_world(training_rows: pl.DataFrame) -> World:
    """States of pinned training rows; every fifth task is held out. Raises BadInputError without rows of
    both splits.
    """
    states = _states(training_rows)
    splits = {
        held_out: [
            state for state in states if (int(state.task_hash[:8], 16) % HELD_OUT_EVERY == 0) is held_out
        ]
        for held_out in (False, True)
    }
    if not all(splits.values()):
        raise BadInputError(
            "too few recorded states for two splits",
            got=f"{len(states)} states",
            expected="some in each split",
        )

    def drawn(held_out: bool, seed: int, count: int) -> Sequence[TaskIdentity]:
        ordered = sorted(splits[held_out], key=lambda state: hash_of([seed, state.task_hash]))
        return [ordered[index % len(ordered)] for index in range(count)]

    return World(
        name=NAME,
        train_tasks=lambda seed, count: drawn(False, seed, count),
        heldout_tasks=lambda seed, count: drawn(True, seed, min(count, len(splits[True]))),
        new_environment=RecordedEnvironment,
        cluster_of=lambda task: task.cluster if isinstance(task, RecordedState) else task.task_id,
    )


class RecordedEnvironment(Environment):
    """Shows a recorded context; whatever is answered ends the rollout."""

    def __init__(self) -> None:
        self._state: RecordedState | None = None
        self._answer = ""

    @property
    def tools(self) -> Sequence[ToolDefinition]:
        return ()

    def reset(self, task: Any) -> list[Message]:
        self._state, self._answer = task, ""
        return list(task.prompt)

    def call(self, name: str, arguments_json: str) -> ToolOutcome:
        message = {"tool_calls": [{"function": {"name": name, "arguments": arguments_json}}]}
        self._answer = canonical_action(message)
        return ToolOutcome("", "", None, True, 0.0)

    def rewards(self) -> dict[str, float]:
        """Likeness of the answer and the preferred action, from 0 to 1."""
        assert self._state is not None
        likeness = difflib.SequenceMatcher(
            None, self._answer, self._state.preferred_action, autojunk=False
        ).ratio()
        return {"reward": likeness}


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
