"""The chart of teachers' disagreement: vote patterns and vote entropy, at each level of equivalence."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import polars as pl

from tracelake.assets.charts.style import DATA, DATA_PALE, INK, styled, title_style
from tracelake.assets.folds.verdict.verdict_base import counted

_LEVEL_COLOURS = [DATA_PALE, DATA]
_ENTROPY_BIN_NATS = 0.1
_COUNT_AXIS = alt.Axis(tickMinStep=1, format=",d", tickCount=4)


def disagreement_chart(disagreement: pl.DataFrame) -> alt.HConcatChart:
    """Counts of vote patterns and the histogram of vote entropy, per level, from the table `disagreement`."""
    counts = disagreement.group_by("level", "pattern").agg(pl.len().alias("states")).sort("level", "pattern")
    levels = sorted(disagreement["level"].unique())
    colour = alt.Color("level:N", title="equivalence", scale=alt.Scale(domain=levels, range=_LEVEL_COLOURS))
    widest = 1.14 * max([1, *counts["states"]])
    bars = alt.Chart(_values(counts)).encode(
        x=alt.X("states:Q", title="states", axis=_COUNT_AXIS, scale=alt.Scale(domain=[0, widest])),
        y=alt.Y("pattern:N", title=None, sort=_pattern_order(counts["pattern"])),
        yOffset=alt.YOffset("level:N", sort=levels),
        color=colour,
    )
    labels = bars.mark_text(align="left", dx=4, color=INK, fontSize=10).encode(
        text=alt.Text("states:Q", format=",d"), color=alt.value(INK)
    )
    patterns = (bars.mark_bar(cornerRadiusEnd=2) + labels).properties(
        width=300, height=alt.Step(19), title="States by votes of teachers"
    )
    states = counted(disagreement["state_key"].n_unique(), "state")
    title = alt.TitleParams(
        "Disagreement of teachers", subtitle=[states], fontSize=18, offset=14, **title_style()
    )
    joined = alt.hconcat(patterns, _entropy_histograms(disagreement, levels, colour), spacing=34)
    return styled(joined.properties(title=title))


def _entropy_histograms(
    disagreement: pl.DataFrame, levels: Sequence[str], colour: alt.Color
) -> alt.VConcatChart:
    """One histogram per level, on the same axes."""
    answered = disagreement.filter(pl.col("vote_entropy_nats").is_not_null())
    start = (pl.col("vote_entropy_nats") / _ENTROPY_BIN_NATS).floor() * _ENTROPY_BIN_NATS
    binned = (
        answered.group_by("level", start.alias("start")).agg(pl.len().alias("states")).sort("level", "start")
    )
    binned = binned.with_columns((pl.col("start") + _ENTROPY_BIN_NATS).alias("end"))
    right, top = max([1.2, *binned["end"]]), 1.08 * max([1, *binned["states"]])
    panels = [
        alt.Chart(_values(binned.filter(pl.col("level") == level)))
        .mark_bar(binSpacing=1)
        .encode(
            x=alt.X("start:Q", bin="binned", title=None, scale=alt.Scale(domain=[0, right])),
            x2="end:Q",
            y=alt.Y("states:Q", title="states", scale=alt.Scale(domain=[0, top]), axis=_COUNT_AXIS),
            color=colour,
        )
        .properties(width=260, height=74, title=f"Vote entropy at {level}, nats")
        for level in levels
    ]
    return alt.vconcat(*panels, spacing=14)


def _pattern_order(patterns: pl.Series) -> list[str]:
    """Most agreed first: by largest share of votes, `none` last."""

    def rank(pattern: str) -> tuple[float, str]:
        votes = [int(count) for count in pattern.split("-")] if pattern != "none" else [0, 1]
        return -votes[0] / sum(votes), pattern

    return sorted(set(patterns), key=rank)


def _values(frame: pl.DataFrame) -> alt.Data:
    return alt.Data(values=frame.to_dicts())
