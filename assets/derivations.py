"""The derived tables: name, inputs, fold and key of each. `build` and Dagster both read this list.

Flow: answers → classified → votes → disagreement → preference pairs; the functions below compose these folds
per table.

**A fold is a pure function** of its input frames and its parameters, and its result ends in a total order.
**Raise `code_version` by hand** whenever a fold's result may change for the same inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import polars as pl
from pydantic import BaseModel, ConfigDict

from tracelake.assets.folds.pairs.agreement import teacher_agreement
from tracelake.assets.folds.pairs.answers import answers
from tracelake.assets.folds.pairs.classified import classified_answers
from tracelake.assets.folds.pairs.disagreement import disagreement, disagreement_by_trace
from tracelake.assets.folds.pairs.preference_pairs import PairsAndOutcomes, preference_pairs
from tracelake.assets.folds.pairs.training_rows import training_rows
from tracelake.assets.folds.pairs.votes import votes
from tracelake.assets.folds.replay_cost.spend import TEACHER_SPEND_KEY, spend, teacher_spend
from tracelake.assets.folds.traces.exposures import exposures
from tracelake.assets.folds.traces.turns import trajectories, turns
from tracelake.assets.folds.verdict.evaluations import evaluations

PINNED_BY_DEFAULT = (
    "answers",
    "disagreement",
    "disagreement_by_trace",
    "pair_outcomes",
    "preference_pairs",
    "training_rows",
)
"""Tables of a pin that names none."""


class BuildParameters(BaseModel):
    """Parameters of a build."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    student: str | None = None
    """Model whose actions are compared with the teachers'; null: there is no student, and there are no
    pairs."""
    min_teachers: int = 2
    """Fewest teachers at a state that may outvote a student."""


class DerivedTable(NamedTuple):
    name: str
    inputs: tuple[str, ...]
    """Event tables and derived tables, as the fold's positional arguments."""
    key: tuple[str, ...]
    code_version: str
    fold: Callable[..., pl.DataFrame]
    parameters: tuple[str, ...] = ()
    """Fields of `BuildParameters`, as the fold's keyword arguments."""
    plot_column: str | None = None
    """Column whose distribution Dagster plots."""


def _disagreement(answers: pl.DataFrame) -> pl.DataFrame:
    classified = classified_answers(answers)
    return disagreement(classified, votes(classified))


def _disagreement_by_trace(answers: pl.DataFrame) -> pl.DataFrame:
    classified = classified_answers(answers)
    return disagreement_by_trace(classified, disagreement(classified, votes(classified)))


def _teacher_agreement(answers: pl.DataFrame) -> pl.DataFrame:
    return teacher_agreement(votes(classified_answers(answers)))


def _preference_pairs(answers: pl.DataFrame, *, min_teachers: int) -> pl.DataFrame:
    return _pairs_and_outcomes(answers, min_teachers).pairs


def _pair_outcomes(answers: pl.DataFrame, *, min_teachers: int) -> pl.DataFrame:
    return _pairs_and_outcomes(answers, min_teachers).outcomes


def _pairs_and_outcomes(answers: pl.DataFrame, min_teachers: int) -> PairsAndOutcomes:
    classified = classified_answers(answers)
    teacher_votes = votes(classified)
    tallies = disagreement(classified, teacher_votes)
    return preference_pairs(classified, teacher_votes, tallies, min_teachers=min_teachers)


DERIVED_TABLES: tuple[DerivedTable, ...] = (
    DerivedTable(
        "turns",
        inputs=("rollout_started", "turn_completed", "tool_returned"),
        key=("rollout_id", "turn_index"),
        code_version="1",
        fold=turns,
        plot_column="model",
    ),
    DerivedTable(
        "trajectories",
        inputs=("rollout_started", "turns", "reward_assigned", "rollout_ended"),
        key=("rollout_id",),
        code_version="2",
        fold=trajectories,
        plot_column="reward",
    ),
    DerivedTable(
        "answers",
        inputs=("turns", "teacher_answered"),
        key=("answer_id",),
        code_version="1",
        fold=answers,
        parameters=("student",),
        plot_column="author",
    ),
    DerivedTable(
        "disagreement",
        inputs=("answers",),
        key=("state_key", "level"),
        code_version="1",
        fold=_disagreement,
        plot_column="pattern",
    ),
    DerivedTable(
        "disagreement_by_trace",
        inputs=("answers",),
        key=("rollout_id", "level"),
        code_version="1",
        fold=_disagreement_by_trace,
        plot_column="mean_entropy_nats",
    ),
    DerivedTable(
        "teacher_agreement",
        inputs=("answers",),
        key=("level", "teacher_a", "teacher_b"),
        code_version="1",
        fold=_teacher_agreement,
    ),
    DerivedTable(
        "preference_pairs",
        inputs=("answers",),
        key=("pair_id",),
        code_version="1",
        fold=_preference_pairs,
        parameters=("min_teachers",),
        plot_column="rule",
    ),
    DerivedTable(
        "pair_outcomes",
        inputs=("answers",),
        key=("rollout_id", "turn_index", "rule", "level"),
        code_version="1",
        fold=_pair_outcomes,
        parameters=("min_teachers",),
        plot_column="outcome",
    ),
    DerivedTable(
        "training_rows",
        inputs=("preference_pairs", "turn_completed", "teacher_answered", "rollout_started"),
        key=("pair_id",),
        code_version="2",
        fold=training_rows,
        plot_column="vote_margin",
    ),
    DerivedTable(
        "exposures",
        inputs=("batch_consumed",),
        key=("training_id", "attempt_index", "train_step", "item_kind", "item_id"),
        code_version="1",
        fold=exposures,
        plot_column="item_kind",
    ),
    DerivedTable(
        "evaluations",
        inputs=("task_evaluated",),
        key=("evaluation_id", "metric", "task_key", "sample_index"),
        code_version="1",
        fold=evaluations,
        plot_column="score",
    ),
    DerivedTable(
        "spend",
        inputs=("turn_completed", "teacher_answered", "teacher_failed"),
        key=("purpose", "model"),
        code_version="2",
        fold=spend,
    ),
    DerivedTable(
        "teacher_spend",
        inputs=("teacher_call_reserved", "teacher_call_settled", "teacher_answered", "teacher_failed"),
        key=TEACHER_SPEND_KEY,
        code_version="2",
        fold=teacher_spend,
        plot_column="settled_microusd",
    ),
)

TABLE_OF_NAME: dict[str, DerivedTable] = {table.name: table for table in DERIVED_TABLES}
