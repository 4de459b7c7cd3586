"""Preference pairs from disagreement, and an account of every turn that gave none.

Two rules: `majority_over_student` prefers the teachers' majority action to the student's;
`student_over_minority` prefers the student's action, where it is the majority's, to each action that a
minority voted for.
**Every student turn has one outcome per rule**, so pairs and refusals add up to turns.
**A class is represented by** the lowest sample of the alphabetically first teacher that voted for it. Two
actions of different classes are never the same text, so a pair of identical actions cannot arise.
"""

from __future__ import annotations

import hashlib
from typing import Literal, NamedTuple, get_args

import polars as pl

from tracelake.assets.folds.actions.classified import classified_answers
from tracelake.assets.folds.actions.keys import Level
from tracelake.assets.folds.pairs.disagreement import disagreement_of
from tracelake.assets.folds.pairs.votes import votes_of

Rule = Literal["majority_over_student", "student_over_minority"]
RULES: tuple[Rule, ...] = get_args(Rule)
Outcome = Literal[
    "paired",
    "no_teacher",
    "too_few_teachers",
    "no_majority",
    "student_agrees",
    "student_disagrees",
    "no_minority",
    "empty_action",
]
"""`student_agrees` ends the first rule, `student_disagrees` and `no_minority` the second; `empty_action`: a
side without text and calls has nothing to train on."""

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
_PLACE = ["rollout_id", "turn_index", "rule", "state_key"]
_SIDE = {"action_json": "json", "event_id": "event_id", "author": "author"}
_TALLY = ["teacher_count", "majority_class", "majority_votes", "vote_margin", "pattern", "class_count"]


class PairsAndOutcomes(NamedTuple):
    pairs: pl.DataFrame
    """`PAIR_SCHEMA`, ordered by rollout, turn, rule, state, pair id; nulls last."""
    outcomes: pl.DataFrame
    """`OUTCOME_SCHEMA`, one row per (student turn, rule), ordered by rollout, turn, rule, state, event."""


def preference_pairs(answers: pl.DataFrame, level: Level, min_teachers: int = 2) -> PairsAndOutcomes:
    """Pairs of both rules at one level of equivalence; states with fewer than `min_teachers` votes give
    none."""
    classified = classified_answers(answers, [level])
    tallies = disagreement_of(classified).select("state_key", *_TALLY)
    students = classified.filter(pl.col("role") == "student").join(tallies, on="state_key", how="left")
    ruled = pl.concat(
        [students.with_columns(pl.lit(rule).alias("rule"), _refusal(rule, min_teachers)) for rule in RULES]
    )
    representatives = votes_of(classified).unique(
        ["state_key", "action_class"], keep="first", maintain_order=True
    )
    candidates = _candidates(ruled.filter(pl.col("refusal").is_null()), representatives)
    return PairsAndOutcomes(_pairs(candidates.filter("usable")), _outcomes(ruled, candidates))


def pair_id(rule: str, level: str, chosen_event_id: str, rejected_event_id: str) -> str:
    """SHA-256 over the rule, the level and both events, each ended by a zero byte."""
    parts = (rule, level, chosen_event_id, rejected_event_id)
    return hashlib.sha256("".join(part + "\0" for part in parts).encode()).hexdigest()


def _refusal(rule: Rule, min_teachers: int) -> pl.Expr:
    """Why a turn gives no pair under a rule; null if it may."""
    agrees = pl.col("action_class") == pl.col("majority_class")
    before = (
        pl.when(pl.col("teacher_count") == 0).then(pl.lit("no_teacher"))
        .when(pl.col("teacher_count") < min_teachers).then(pl.lit("too_few_teachers"))
        .when(pl.col("majority_class").is_null()).then(pl.lit("no_majority"))
    )  # fmt: skip
    if rule == "majority_over_student":
        ended = before.when(agrees).then(pl.lit("student_agrees"))
    else:
        unanimous = pl.col("class_count") == 1
        ended = (
            before.when(~agrees).then(pl.lit("student_disagrees")).when(unanimous).then(pl.lit("no_minority"))
        )
    return ended.otherwise(None).alias("refusal")


def _candidates(open_turns: pl.DataFrame, representatives: pl.DataFrame) -> pl.DataFrame:
    """Turns joined with the class that each is paired with, sides named; `usable` is false with an empty
    side."""
    columns = [*_SIDE, "is_empty"]
    other = representatives.select(
        "state_key",
        pl.col("action_class").alias("other_class"),
        *(pl.col(name).alias(f"other_{name}") for name in columns),
    )
    met = open_turns.join(other, on="state_key", how="inner")
    is_majority = pl.col("other_class") == pl.col("majority_class")
    teacher_chosen = pl.col("rule") == "majority_over_student"
    met = met.filter(is_majority == teacher_chosen)
    sides = [
        pl.when(teacher_chosen == (side == "chosen"))
        .then(f"other_{name}")
        .otherwise(name)
        .alias(f"{side}_{short}")
        for side in ("chosen", "rejected")
        for name, short in _SIDE.items()
    ]
    usable = ~(pl.col("is_empty") | pl.col("other_is_empty"))
    return met.with_columns(*sides, usable.alias("usable"))


def _pairs(candidates: pl.DataFrame) -> pl.DataFrame:
    named = candidates.select("rule", "level", "chosen_event_id", "rejected_event_id").rows()
    identified = candidates.with_columns(pl.Series("pair_id", [pair_id(*row) for row in named], pl.String))
    return identified.select(*PAIR_SCHEMA).sort(*_PLACE, "pair_id", nulls_last=True)


def _outcomes(ruled: pl.DataFrame, candidates: pl.DataFrame) -> pl.DataFrame:
    turn = ["event_id", "state_key", "rule"]
    counted = candidates.group_by(turn).agg(pl.col("usable").sum().cast(pl.Int64).alias("pair_count"))
    made = pl.when(pl.col("pair_count") > 0).then(pl.lit("paired")).otherwise(pl.lit("empty_action"))
    frame = ruled.join(counted, on=turn, how="left").with_columns(pl.col("pair_count").fill_null(0))
    frame = frame.with_columns(
        pl.coalesce("refusal", made).alias("outcome"), pl.col("event_id").alias("student_event_id")
    )
    return frame.select(*OUTCOME_SCHEMA).sort(*_PLACE, "student_event_id", nulls_last=True)
