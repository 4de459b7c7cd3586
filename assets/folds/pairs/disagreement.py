"""Where teachers disagree: per state, and per trace of the student.

**A pattern names the sorted vote counts**: `2-1`, `1-1-1`, `2-2`; where all n agree it is `n-0`, and `none`
where nobody was asked.
**A majority is strict**: more than half of the teachers who answered. Entropy is over votes, in nats.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from tracelake.assets.folds.actions.classified import classified_answers
from tracelake.assets.folds.actions.keys import LEVELS, Level
from tracelake.assets.folds.pairs.agreement import agreement_summary
from tracelake.assets.folds.pairs.votes import votes_of

__all__ = ["agreement_summary", "disagreement", "disagreement_by_trace", "disagreement_of"]

STATE_KEY = ["state_key", "level"]
TRACE_KEY = ["rollout_id", "level"]


def disagreement(answers: pl.DataFrame, levels: Sequence[Level] = LEVELS) -> pl.DataFrame:
    """One row per (state_key, level) at which anybody answered, in this order.

    `vote_margin` is (largest - second largest count) / teachers, in [0, 1]. `majority_class` and
    `majority_votes` are null without a strict majority, entropy and margin without a teacher.
    `student_agreeing_count` of `student_count` student turns at this state are of the majority's class.
    """
    return disagreement_of(classified_answers(answers, levels))


def disagreement_of(classified: pl.DataFrame) -> pl.DataFrame:
    """`disagreement` from answers that are classified already."""
    states = classified.select(*STATE_KEY).unique()
    frame = states.join(_tallies(votes_of(classified)), on=STATE_KEY, how="left")
    frame = frame.with_columns(
        pl.col("teacher_count", "class_count").fill_null(0), pl.col("pattern").fill_null("none")
    )
    frame = frame.join(_student_counts(classified, frame), on=STATE_KEY, how="left")
    return frame.with_columns(pl.col("student_count", "student_agreeing_count").fill_null(0)).sort(STATE_KEY)


def disagreement_by_trace(answers: pl.DataFrame, levels: Sequence[Level] = LEVELS) -> pl.DataFrame:
    """One row per (rollout_id, level) of the student, in this order, nulls last.

    Counts are of turns: `unanimous_count`, `majority_count` (strict, not unanimous), `split_count` (no
    majority) and `unanswered_count` (no teacher) add up to `turn_count`. `disagreement_share` is of answered
    turns, `student_differs_share` of turns with a majority; both are null where there are none.
    """
    classified = classified_answers(answers, levels)
    students = classified.filter(pl.col("role") == "student")
    turns = students.join(disagreement_of(classified), on=STATE_KEY, how="left", maintain_order="left")
    summary = turns.group_by(TRACE_KEY).agg(*_trace_columns())
    summary = summary.join(_pattern_counts(turns), on=TRACE_KEY, nulls_equal=True)
    return summary.sort(TRACE_KEY, nulls_last=True)


def _tallies(vote_rows: pl.DataFrame) -> pl.DataFrame:
    """Per (state_key, level): how the votes fell."""
    counted = vote_rows.group_by(*STATE_KEY, "action_class").agg(pl.len().cast(pl.Int64).alias("votes"))
    ordered = counted.sort(*STATE_KEY, "votes", "action_class", descending=[False, False, True, False])
    share = pl.col("votes") / pl.col("votes").sum()
    tally = ordered.group_by(STATE_KEY, maintain_order=True).agg(
        pl.col("votes"),
        pl.col("action_class").first().alias("top_class"),
        (-(share * share.log()).sum()).abs().alias("vote_entropy_nats"),
    )
    teachers, top = pl.col("votes").list.sum(), pl.col("votes").list.first()
    runner_up = pl.col("votes").list.get(1, null_on_oob=True).fill_null(0)
    pattern = pl.col("votes").cast(pl.List(pl.String)).list.join("-")
    is_majority = top * 2 > teachers
    return tally.select(
        *STATE_KEY,
        teachers.alias("teacher_count"),
        pl.col("votes").list.len().cast(pl.Int64).alias("class_count"),
        pl.when(pl.col("votes").list.len() == 1).then(pattern + "-0").otherwise(pattern).alias("pattern"),
        "vote_entropy_nats",
        pl.when(is_majority).then("top_class").alias("majority_class"),
        pl.when(is_majority).then(top).alias("majority_votes"),
        ((top - runner_up) / teachers).alias("vote_margin"),
    )


def _student_counts(classified: pl.DataFrame, tallies: pl.DataFrame) -> pl.DataFrame:
    students = classified.filter(pl.col("role") == "student")
    judged = students.join(tallies.select(*STATE_KEY, "majority_class"), on=STATE_KEY, how="left")
    return judged.group_by(STATE_KEY).agg(
        pl.len().cast(pl.Int64).alias("student_count"),
        (pl.col("action_class") == pl.col("majority_class"))
        .sum()
        .cast(pl.Int64)
        .alias("student_agreeing_count"),
    )


def _trace_columns() -> list[pl.Expr]:
    answered = pl.col("teacher_count") > 0
    unanimous = pl.col("class_count") == 1
    has_majority = pl.col("majority_class").is_not_null()
    differs = pl.col("action_class") != pl.col("majority_class")
    return [
        pl.col("task_key").sort(nulls_last=True).first(),
        pl.len().cast(pl.Int64).alias("turn_count"),
        unanimous.sum().cast(pl.Int64).alias("unanimous_count"),
        (has_majority & ~unanimous).sum().cast(pl.Int64).alias("majority_count"),
        (answered & ~has_majority).sum().cast(pl.Int64).alias("split_count"),
        (~answered).sum().cast(pl.Int64).alias("unanswered_count"),
        pl.col("vote_entropy_nats").sort(nulls_last=True).mean().alias("mean_entropy_nats"),
        (pl.col("class_count").filter(answered) > 1).mean().alias("disagreement_share"),
        differs.filter(has_majority).mean().alias("student_differs_share"),
    ]


def _pattern_counts(turns: pl.DataFrame) -> pl.DataFrame:
    """Per (rollout_id, level): canonical JSON text such as `{"2-1":5,"3-0":2}`."""
    counted = turns.group_by(*TRACE_KEY, "pattern").agg(pl.len().alias("count")).sort(*TRACE_KEY, "pattern")
    entry = pl.concat_str(pl.lit('"'), "pattern", pl.lit('":'), "count")
    listed = counted.group_by(TRACE_KEY, maintain_order=True).agg(entry.str.join(",").alias("entries"))
    text = pl.concat_str(pl.lit("{"), "entries", pl.lit("}"))
    return listed.select(*TRACE_KEY, text.alias("pattern_counts_json"))
