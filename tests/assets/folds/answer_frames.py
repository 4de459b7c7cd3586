"""Small answers frames written the way one says them: who voted for what at which state."""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from tracelake.assets.folds.actions.classified import ANSWER_SCHEMA


def shell_action(command: str, content: str = "") -> str:
    """An action that calls bash."""
    return action(content, [("bash", {"command": command})])


def action(content: str = "", calls: list[tuple[str, Any]] | None = None) -> str:
    tool_calls = [{"arguments": arguments, "name": name} for name, arguments in calls or []]
    return json.dumps({"content": content, "tool_calls": tool_calls}, sort_keys=True)


def student(state: str, command: str, *, turn_index: int = 0, rollout_id: str = "r1") -> dict[str, Any]:
    return _row(state, "student", "student", 0, shell_action(command), rollout_id, turn_index)


def teacher(state: str, author: str, command: str, *, sample_index: int = 0) -> dict[str, Any]:
    return _row(state, "teacher", author, sample_index, shell_action(command), None, None)


def _row(
    state: str,
    role: str,
    author: str,
    sample: int,
    action_json: str,
    rollout_id: str | None,
    turn: int | None,
) -> dict[str, Any]:
    event_id = f"{state}/{author}/{sample}/{rollout_id}/{turn}"
    return {
        "answer_id": f"{role}:{event_id}",
        "state_key": state,
        "role": role,
        "author": author,
        "sample_index": sample,
        "rollout_id": rollout_id,
        "turn_index": turn,
        "task_key": "task" if rollout_id else None,
        "event_id": event_id,
        "action_json": action_json,
    }


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=ANSWER_SCHEMA)
