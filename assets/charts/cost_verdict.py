"""The chart of a replay's cost: measured dollars per trace, measured seconds per turn, projected dollars.

**Measured and projected figures have separate panels**, and projected ones are pale.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from tracelake.assets.charts.style import DATA, DATA_PALE, INK, QUIET, THRESHOLD, outcome_title, styled
from tracelake.assets.folds.replay_cost.cost_model import CostVerdict, DollarsPerTrace, SecondsPerTurn
from tracelake.assets.folds.replay_cost.cost_reasons import ALL_TEACHERS, dollars, subject_text
from tracelake.assets.folds.verdict.verdict_base import counted

WIDTH = 520
_ROW_PIXELS = 30
_LABEL_PIXELS_MAX = 250

Row = dict[str, object]


def cost_verdict_chart(verdict: CostVerdict) -> alt.VConcatChart:
    """Means with intervals, medians as ticks, 95th percentiles as open points, against the thresholds."""
    panels: list[Any] = []
    limits = verdict.spec.thresholds
    limit = (limits.dollars_per_trace_max, f"threshold {dollars(limits.dollars_per_trace_max)}")
    if verdict.measured is not None:
        sets = [(each.teacher, each.measured) for each in verdict.teachers]
        sets.append((ALL_TEACHERS, verdict.measured))
        rows = [_dollar_row(name, each.dollars_per_trace, DATA) for name, each in sets]
        title = "Measured: dollars per trace, mean with interval, | median, ○ p95"
        panels.append(_panel(rows, title, *limit))
        second_rows = [
            _second_row(name, each.seconds_per_turn)
            for name, each in sets
            if each.seconds_per_turn is not None
        ]
        if second_rows:
            title = "Measured: seconds per turn, p95 with interval, | median"
            most = limits.seconds_per_turn_max
            panels.append(_panel(second_rows, title, most, f"threshold {most:g} s"))
    if verdict.projected is not None:
        for kind in ("uncached", "cached"):
            projections = (*verdict.projected.teachers, verdict.projected.total)
            rows = [_dollar_row(each.teacher, getattr(each, kind), DATA_PALE) for each in projections]
            cache = "without a cache" if kind == "uncached" else "every prefix read from a cache"
            panels.append(_panel(rows, f"Projected, not measured: dollars per trace, {cache}", *limit))
    if not panels:
        panels.append(alt.Chart(alt.Data(values=[])).mark_point())
    return styled(alt.vconcat(*panels, spacing=26).properties(title=_title(verdict)))


def _panel(rows: Sequence[Row], title: str, limit: float, name: str) -> alt.LayerChart | alt.FacetChart:
    top = 1.06 * max([limit, *(float(str(row[key])) for row in rows for key in ("high", "end"))])
    horizontal = {"scale": alt.Scale(domain=[0, top], nice=False), "title": None}
    axis = alt.Axis(domain=False, ticks=False, labelPadding=8, labelLimit=_LABEL_PIXELS_MAX, grid=False)
    base = alt.Chart(alt.Data(values=list(rows))).encode(
        y=alt.Y("label:N", title=None, sort=None, axis=axis),
        color=alt.Color("colour:N", scale=None, legend=None),
    )
    x = alt.X("value:Q", **horizontal)
    layers = [
        *_limit_layers(limit, name, horizontal),
        base.mark_rule(strokeWidth=3, opacity=0.6).encode(x=alt.X("low:Q", **horizontal), x2="high:Q"),
        base.mark_tick(size=16, thickness=2).encode(x=alt.X("middle:Q", **horizontal)),
        base.mark_point(size=60, opacity=1).encode(x=alt.X("end:Q", **horizontal)),
        base.mark_point(filled=True, size=80, opacity=1).encode(x=x),
        base.mark_text(align="left", fontSize=11).encode(
            x=alt.value(WIDTH + 10), text="text:N", color=alt.value(INK)
        ),
    ]
    return alt.layer(*layers).properties(
        width=WIDTH,
        height=alt.Step(_ROW_PIXELS),
        title=alt.TitleParams(title, color=QUIET, offset=16),
    )


def _limit_layers(limit: float, name: str, horizontal: dict[str, Any]) -> list[alt.Chart]:
    base = alt.Chart(alt.Data(values=[{"at": limit, "name": name}])).encode(x=alt.X("at:Q", **horizontal))
    label = base.mark_text(align="left", dx=3, color=THRESHOLD, fontSize=10, baseline="bottom")
    return [
        base.mark_rule(color=THRESHOLD, strokeDash=[5, 3], strokeWidth=1.5),
        label.encode(text="name:N", y=alt.value(-4)),
    ]


def _dollar_row(name: str, spread: DollarsPerTrace, colour: str) -> Row:
    interval = f"[{dollars(spread.interval_low)}, {dollars(spread.interval_high)}]"
    return {
        "label": ALL_TEACHERS if name == "all" else name,
        "value": spread.mean,
        "low": spread.interval_low,
        "high": spread.interval_high,
        "middle": spread.median,
        "end": spread.p95,
        "text": f"{dollars(spread.mean)}  {interval}",
        "colour": colour,
    }


def _second_row(name: str, seconds: SecondsPerTurn) -> Row:
    return {
        "label": name,
        "value": seconds.p95,
        "low": seconds.p95_low,
        "high": seconds.p95_high,
        "middle": seconds.p50,
        "end": seconds.p95,
        "text": f"{seconds.p95:.3g} s  [{seconds.p95_low:.3g}, {seconds.p95_high:.3g}]",
        "colour": DATA,
    }


def _title(verdict: CostVerdict) -> alt.TitleParams:
    size = f"{counted(verdict.trace_count, 'trace')}, {counted(verdict.turn_count, 'turn')} measured"
    subtitle = [
        f"{verdict.spec.experiment_id}: {verdict.spec.title}",
        f"scale: {verdict.spec.scale} · {size}",
        f"about: {subject_text(verdict)}",
    ]
    return outcome_title(verdict.outcome, subtitle)
