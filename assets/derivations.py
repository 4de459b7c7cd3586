"""The derived tables: from what, by which fold, under which key. The one list that `build` and Dagster both
read.

**A fold is a pure function** of its input frames and the parameters that its row names; every result ends
in a total order.
**`code_version` is raised by hand** whenever a fold's result may change for the same inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import polars as pl
from pydantic import BaseModel, ConfigDict

from tracelake.assets.folds.pairs.answers import answers
from tracelake.assets.folds.pairs.disagreement import agreement_summary, disagreement, disagreement_by_trace
from tracelake.assets.folds.pairs.pairs import preference_pairs
from tracelake.assets.folds.replay_cost.teacher_spend import KEY as TEACHER_SPEND_KEY
from tracelake.assets.folds.replay_cost.teacher_spend import teacher_spend
from tracelake.assets.folds.traces.exposures import exposures
from tracelake.assets.folds.traces.training_rows import training_rows
from tracelake.assets.folds.traces.turns import trajectories, turns
from tracelake.assets.folds.verdict.evaluations import evaluations, spend

LEVELS = ("L0", "L1")


class BuildParameters(BaseModel):
    """What a build may be told."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    student: str | None = None
    """Model whose actions are judged; null: no rollout is a student's, and there are no pairs."""
    min_teachers: int = 2
    """Fewest teachers at a state that may outvote a student."""


Frames = dict[str, pl.DataFrame]


class DerivedTable(NamedTuple):
    name: str
    inputs: tuple[str, ...]
    key: tuple[str, ...]
    code_version: str
    fold: Callable[[Frames, BuildParameters], pl.DataFrame]
    parameters: tuple[str, ...] = ()
    """Names of the parameters that the fold depends on."""
    plot_column: str | None = None
    """Column whose distribution tells most about the table."""


def _pairs(frames: Frames, parameters: BuildParameters) -> pl.DataFrame:
    levels = [
        preference_pairs(frames["answers"], level, min_teachers=parameters.min_teachers)[0]
        for level in LEVELS
    ]
    return pl.concat(levels).sort("pair_id")


def _outcomes(frames: Frames, parameters: BuildParameters) -> pl.DataFrame:
    return pl.concat(
        preference_pairs(frames["answers"], level, min_teachers=parameters.min_teachers)[1].with_columns(
            pl.lit(level).alias("level")
        )
        for level in LEVELS
    )


DERIVED_TABLES: tuple[DerivedTable, ...] = (
    DerivedTable(
        "turns",
        ("rollout_started", "turn_completed", "tool_returned"),
        ("rollout_id", "turn_index"),
        "1",
        lambda frames, _: turns(frames["rollout_started"], frames["turn_completed"], frames["tool_returned"]),
        plot_column="model",
    ),
    DerivedTable(
        "trajectories",
        ("rollout_started", "turns", "reward_assigned", "rollout_ended"),
        ("rollout_id",),
        "1",
        lambda frames, _: trajectories(
            frames["rollout_started"], frames["turns"], frames["reward_assigned"], frames["rollout_ended"]
        ),
        plot_column="reward",
    ),
    DerivedTable(
        "answers",
        ("turns", "teacher_answered"),
        ("answer_id",),
        "1",
        lambda frames, parameters: answers(
            frames["turns"], frames["teacher_answered"], student=parameters.student
        ),
        parameters=("student",),
        plot_column="author",
    ),
    DerivedTable(
        "disagreement",
        ("answers",),
        ("state_key", "level"),
        "1",
        lambda frames, _: disagreement(frames["answers"], levels=LEVELS),
        plot_column="pattern",
    ),
    DerivedTable(
        "disagreement_by_trace",
        ("answers",),
        ("rollout_id", "level"),
        "1",
        lambda frames, _: disagreement_by_trace(frames["answers"], levels=LEVELS),
        plot_column="mean_entropy_nats",
    ),
    DerivedTable(
        "teacher_agreement",
        ("answers",),
        ("level", "teacher_a", "teacher_b"),
        "1",
        lambda frames, _: agreement_summary(frames["answers"], levels=LEVELS),
    ),
    DerivedTable(
        "preference_pairs",
        ("answers",),
        ("pair_id",),
        "1",
        _pairs,
        parameters=("min_teachers",),
        plot_column="rule",
    ),
    DerivedTable(
        "pair_outcomes",
        ("answers",),
        ("rollout_id", "turn_index", "rule", "level"),
        "1",
        _outcomes,
        parameters=("min_teachers",),
        plot_column="outcome",
    ),
    DerivedTable(
        "training_rows",
        ("preference_pairs", "turn_completed", "teacher_answered", "rollout_started"),
        ("pair_id",),
        "1",
        lambda frames, _: training_rows(
            frames["preference_pairs"],
            frames["turn_completed"],
            frames["teacher_answered"],
            frames["rollout_started"],
        ),
        plot_column="vote_margin",
    ),
    DerivedTable(
        "exposures",
        ("batch_consumed",),
        ("training_id", "attempt_index", "train_step", "item_kind", "item_id"),
        "1",
        lambda frames, _: exposures(frames["batch_consumed"]),
        plot_column="item_kind",
    ),
    DerivedTable(
        "evaluations",
        ("task_evaluated",),
        ("evaluation_id", "metric", "task_key", "sample_index"),
        "1",
        lambda frames, _: evaluations(frames["task_evaluated"]),
        plot_column="score",
    ),
    DerivedTable(
        "spend",
        ("turn_completed", "teacher_answered", "teacher_failed"),
        ("purpose", "model"),
        "1",
        lambda frames, _: spend(
            frames["turn_completed"], frames["teacher_answered"], frames["teacher_failed"]
        ),
    ),
    DerivedTable(
        "teacher_spend",
        ("teacher_call_reserved", "teacher_call_settled", "teacher_answered", "teacher_failed"),
        TEACHER_SPEND_KEY,
        "1",
        lambda frames, _: teacher_spend(
            frames["teacher_call_reserved"],
            frames["teacher_call_settled"],
            frames["teacher_answered"],
            frames["teacher_failed"],
        ),
        plot_column="settled_microusd",
    ),
)

TABLE_OF_NAME: dict[str, DerivedTable] = {table.name: table for table in DERIVED_TABLES}
