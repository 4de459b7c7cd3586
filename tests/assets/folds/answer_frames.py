"""Small frames of answers, written as votes at states, and the folds from answers to pairs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import polars as pl

from tracelake.assets.folds.actions.keys import LEVELS, Level, action_keys
from tracelake.assets.folds.pairs import disagreement as disagreement_folds
from tracelake.assets.folds.pairs.answers import ANSWER_SCHEMA
from tracelake.assets.folds.pairs.classified import classified_answers
from tracelake.assets.folds.pairs.preference_pairs import PairsAndOutcomes, preference_pairs
from tracelake.assets.folds.pairs.votes import votes


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


def action_class(action_json: str, level: str) -> str:
    return getattr(action_keys(action_json), level)


def votes_of(answers: pl.DataFrame, levels: Sequence[Level] = LEVELS) -> pl.DataFrame:
    return votes(classified_answers(answers, levels))


def disagreement_of(answers: pl.DataFrame, levels: Sequence[Level] = LEVELS) -> pl.DataFrame:
    classified = classified_answers(answers, levels)
    return disagreement_folds.disagreement(classified, votes(classified))


def disagreement_by_trace_of(answers: pl.DataFrame, levels: Sequence[Level] = LEVELS) -> pl.DataFrame:
    classified = classified_answers(answers, levels)
    by_state = disagreement_folds.disagreement(classified, votes(classified))
    return disagreement_folds.disagreement_by_trace(classified, by_state)


def pairs_of(answers: pl.DataFrame, level: Level, min_teachers: int = 2) -> PairsAndOutcomes:
    """Pairs and outcomes at one level."""
    classified = classified_answers(answers, [level])
    ballots = votes(classified)
    tallies = disagreement_folds.disagreement(classified, ballots)
    return preference_pairs(classified, ballots, tallies, min_teachers=min_teachers)
