"""Preference pairs from disagreement, and the reason for every turn without one.

Two rules: `majority_over_student` prefers the teachers' majority action to the student's;
`student_over_minority` prefers the student's action, where it agrees with the majority, to each action that a
minority voted for.
**Every student turn has one outcome per rule and level**, so pairs and refusals add up to turns.
**A class is represented by** the lowest sample of the alphabetically first teacher that voted for it. Two
actions of different classes are never the same text, so no pair has two identical actions.
"""

from __future__ import annotations

import hashlib
from typing import Literal, NamedTuple, get_args

import polars as pl

from tracelake.assets.folds.pairs.disagreement import STATE_KEY

PairRule = Literal["majority_over_student", "student_over_minority"]
RULES: tuple[PairRule, ...] = get_args(PairRule)
PairOutcome = Literal[
    "paired",
    "no_teacher",
    "too_few_teachers",
    "no_majority",
    "student_agrees",
    "student_disagrees",
    "no_minority",
    "empty_action",
]
"""`student_agrees` ends the first rule, `student_disagrees` and `no_minority` the second. `empty_action`: one
side has neither text nor calls, so there is nothing to train on."""

PAIR_SCHEMA: dict[str, pl.DataType] = {
    "pair_id": pl.String(),
    "rule": pl.String(),
    "level": pl.String(),
    "state_key": pl.String(),
    "rollout_id": pl.String(),
    "turn_index": pl.Int64(),
    "task_key": pl.String(),
    "chosen_json": pl.String(),
    "rejected_json": pl.String(),
    "chosen_event_id": pl.String(),
    "rejected_event_id": pl.String(),
    "chosen_author": pl.String(),
    "rejected_author": pl.String(),
    "majority_votes": pl.Int64(),
    "teacher_count": pl.Int64(),
    "vote_margin": pl.Float64(),
    "pattern": pl.String(),
}
OUTCOME_SCHEMA: dict[str, pl.DataType] = {
    "student_event_id": pl.String(),
    "rule": pl.String(),
    "level": pl.String(),
    "state_key": pl.String(),
    "rollout_id": pl.String(),
    "turn_index": pl.Int64(),
    "task_key": pl.String(),
    "outcome": pl.String(),
    "pair_count": pl.Int64(),
    "teacher_count": pl.Int64(),
    "pattern": pl.String(),
}
_ORDER = ["rollout_id", "turn_index", "level", "rule", "state_key"]
_SIDE_COLUMNS = {"action_json": "json", "event_id": "event_id", "author": "author"}
_TALLY = ["teacher_count", "majority_class", "majority_votes", "vote_margin", "pattern", "class_count"]


class PairsAndOutcomes(NamedTuple):
    pairs: pl.DataFrame
    """`PAIR_SCHEMA`, ordered by rollout, turn, level, rule, state, pair id; nulls last."""
    outcomes: pl.DataFrame
    """`OUTCOME_SCHEMA`, one row per (student turn, level, rule), ordered by rollout, turn, level, rule,
    state, event; nulls last."""


def preference_pairs(
    classified: pl.DataFrame, votes: pl.DataFrame, disagreement: pl.DataFrame, *, min_teachers: int = 2
) -> PairsAndOutcomes:
    """Pairs of both rules at every level; states with fewer than `min_teachers` votes give none."""
    tallies = disagreement.select(*STATE_KEY, *_TALLY)
    students = classified.filter(pl.col("role") == "student").join(tallies, on=STATE_KEY, how="left")
    turns = pl.concat(
        [students.with_columns(pl.lit(rule).alias("rule"), _refusal(rule, min_teachers)) for rule in RULES]
    )
    representatives = votes.unique([*STATE_KEY, "action_class"], keep="first", maintain_order=True)
    candidates = _candidates(turns.filter(pl.col("refusal").is_null()), representatives)
    return PairsAndOutcomes(_pairs(candidates.filter("usable")), _outcomes(turns, candidates))


def _refusal(rule: PairRule, min_teachers: int) -> pl.Expr:
    """The reason why a turn gives no pair under a rule; null if it may give one."""
    agrees = pl.col("action_class") == pl.col("majority_class")
    without_majority = (
        pl.when(pl.col("teacher_count") == 0).then(pl.lit("no_teacher"))
        .when(pl.col("teacher_count") < min_teachers).then(pl.lit("too_few_teachers"))
        .when(pl.col("majority_class").is_null()).then(pl.lit("no_majority"))
    )  # fmt: skip
    if rule == "majority_over_student":
        refusal = without_majority.when(agrees).then(pl.lit("student_agrees"))
    else:
        unanimous = pl.col("class_count") == 1
        refusal = (
            without_majority.when(~agrees).then(pl.lit("student_disagrees"))
            .when(unanimous).then(pl.lit("no_minority"))
        )  # fmt: skip
    return refusal.otherwise(None).alias("refusal")


def _candidates(turns: pl.DataFrame, representatives: pl.DataFrame) -> pl.DataFrame:
    """Each turn joined with every class it is paired with, as chosen and rejected columns; `usable` is false
    if a side is empty."""
    other = representatives.select(
        *STATE_KEY,
        pl.col("action_class").alias("other_class"),
        *(pl.col(name).alias(f"other_{name}") for name in (*_SIDE_COLUMNS, "is_empty")),
    )
    is_majority = pl.col("other_class") == pl.col("majority_class")
    teacher_chosen = pl.col("rule") == "majority_over_student"
    joined = turns.join(other, on=STATE_KEY, how="inner").filter(is_majority == teacher_chosen)
    sides = [
        pl.when(teacher_chosen == (side == "chosen"))
        .then(f"other_{name}")
        .otherwise(name)
        .alias(f"{side}_{short}")
        for side in ("chosen", "rejected")
        for name, short in _SIDE_COLUMNS.items()
    ]
    usable = ~(pl.col("is_empty") | pl.col("other_is_empty"))
    return joined.with_columns(*sides, usable.alias("usable"))


def _pairs(candidates: pl.DataFrame) -> pl.DataFrame:
    named = candidates.select("rule", "level", "chosen_event_id", "rejected_event_id").rows()
    identified = candidates.with_columns(pl.Series("pair_id", [pair_id(*row) for row in named], pl.String))
    return identified.select(*PAIR_SCHEMA).sort(*_ORDER, "pair_id", nulls_last=True)


def pair_id(rule: str, level: str, chosen_event_id: str, rejected_event_id: str) -> str:
    """SHA-256 over the rule, the level and both events, each ended by a zero byte."""
    parts = (rule, level, chosen_event_id, rejected_event_id)
    return hashlib.sha256("".join(part + "\0" for part in parts).encode()).hexdigest()


def _outcomes(turns: pl.DataFrame, candidates: pl.DataFrame) -> pl.DataFrame:
    turn_key = ["event_id", *STATE_KEY, "rule"]
    counted = candidates.group_by(turn_key).agg(pl.col("usable").sum().cast(pl.Int64).alias("pair_count"))
    paired = pl.when(pl.col("pair_count") > 0).then(pl.lit("paired")).otherwise(pl.lit("empty_action"))
    frame = turns.join(counted, on=turn_key, how="left").with_columns(pl.col("pair_count").fill_null(0))
    frame = frame.with_columns(
        pl.coalesce("refusal", paired).alias("outcome"), pl.col("event_id").alias("student_event_id")
    )
    return frame.select(*OUTCOME_SCHEMA).sort(*_ORDER, "student_event_id", nulls_last=True)
