"""Where teachers disagree: per state, and per trace of the student.

**A pattern lists the vote counts, largest first**: `2-1`, `1-1-1`, `2-2`; `n-0` where all n agree, `none`
where no teacher answered.
**A majority is strict**: more than half of the teachers who answered. Entropy is over votes, in nats.
"""

from __future__ import annotations

import polars as pl

STATE_KEY = ["state_key", "level"]
TRACE_KEY = ["rollout_id", "level"]


def disagreement(classified: pl.DataFrame, votes: pl.DataFrame) -> pl.DataFrame:
    """One row per (state_key, level) with an answer of anybody, in this order.

    `vote_margin` is (largest - second largest count) / teachers, in [0, 1]. `majority_class` and
    `majority_votes` are null without a strict majority, entropy and margin without a teacher.
    `student_agreeing_count` of `student_count` student turns at this state chose the majority's class.
    """
    frame = classified.select(*STATE_KEY).unique().join(_tallies(votes), on=STATE_KEY, how="left")
    frame = frame.with_columns(
        pl.col("teacher_count", "class_count").fill_null(0), pl.col("pattern").fill_null("none")
    )
    agrees = pl.col("action_class") == pl.col("majority_class")
    students = (
        classified.filter(pl.col("role") == "student")
        .join(frame.select(*STATE_KEY, "majority_class"), on=STATE_KEY, how="left")
        .group_by(STATE_KEY)
        .agg(
            pl.len().cast(pl.Int64).alias("student_count"),
            agrees.sum().cast(pl.Int64).alias("student_agreeing_count"),
        )
    )
    frame = frame.join(students, on=STATE_KEY, how="left")
    return frame.with_columns(pl.col("student_count", "student_agreeing_count").fill_null(0)).sort(STATE_KEY)


def _tallies(votes: pl.DataFrame) -> pl.DataFrame:
    """Per (state_key, level): vote counts, their entropy, pattern, majority and margin."""
    counted = votes.group_by(*STATE_KEY, "action_class").agg(pl.len().cast(pl.Int64).alias("votes"))
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


def disagreement_by_trace(classified: pl.DataFrame, disagreement: pl.DataFrame) -> pl.DataFrame:
    """One row per (rollout_id, level) of the student, in this order, nulls last.

    Counts are of turns: `unanimous_count`, `majority_count` (strict, not unanimous), `split_count` (no
    majority) and `unanswered_count` (no teacher) add up to `turn_count`. `disagreement_share` is of answered
    turns, `student_differs_share` of turns with a majority; both are null where there are none.
    """
    students = classified.filter(pl.col("role") == "student")
    turns = students.join(disagreement, on=STATE_KEY, how="left", maintain_order="left")
    answered = pl.col("teacher_count") > 0
    unanimous = pl.col("class_count") == 1
    has_majority = pl.col("majority_class").is_not_null()
    differs = pl.col("action_class") != pl.col("majority_class")
    summary = turns.group_by(TRACE_KEY).agg(
        pl.col("task_key").sort(nulls_last=True).first(),
        pl.len().cast(pl.Int64).alias("turn_count"),
        unanimous.sum().cast(pl.Int64).alias("unanimous_count"),
        (has_majority & ~unanimous).sum().cast(pl.Int64).alias("majority_count"),
        (answered & ~has_majority).sum().cast(pl.Int64).alias("split_count"),
        (~answered).sum().cast(pl.Int64).alias("unanswered_count"),
        pl.col("vote_entropy_nats").sort(nulls_last=True).mean().alias("mean_entropy_nats"),
        (pl.col("class_count").filter(answered) > 1).mean().alias("disagreement_share"),
        differs.filter(has_majority).mean().alias("student_differs_share"),
    )
    summary = summary.join(_pattern_counts(turns), on=TRACE_KEY, nulls_equal=True)
    return summary.sort(TRACE_KEY, nulls_last=True)


def _pattern_counts(turns: pl.DataFrame) -> pl.DataFrame:
    """Per (rollout_id, level): canonical JSON text such as `{"2-1":5,"3-0":2}`."""
    counted = turns.group_by(*TRACE_KEY, "pattern").agg(pl.len().alias("count")).sort(*TRACE_KEY, "pattern")
    entry = pl.concat_str(pl.lit('"'), "pattern", pl.lit('":'), "count")
    listed = counted.group_by(TRACE_KEY, maintain_order=True).agg(entry.str.join(",").alias("entries"))
    text = pl.concat_str(pl.lit("{"), "entries", pl.lit("}"))
    return listed.select(*TRACE_KEY, text.alias("pattern_counts_json"))
