"""The chart of a replay's cost: dollars per trace measured, seconds per turn, dollars per trace projected.

**Measured and projected have panels of their own**, and what is projected is pale.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from tracelake.assets.charts.style import DATA, DATA_PALE, INK, QUIET, THRESHOLD, outcome_title, styled
from tracelake.assets.folds.replay_cost.model import CostVerdict, Measured, Pace, Spread
from tracelake.assets.folds.replay_cost.reasons import dollars
from tracelake.assets.folds.replay_cost.text import ALL, about
from tracelake.assets.folds.verdict.reasons import counted

WIDTH = 520
_ROW_PIXELS = 30
_LABEL_PIXELS_MAX = 250

Row = dict[str, object]


def replay_cost_chart(found: CostVerdict) -> alt.VConcatChart:
    """Means with intervals, medians as ticks, 95th percentiles as open points, against the thresholds."""
    panels: list[Any] = []
    limits = found.spec.thresholds
    limit = (limits.dollars_per_trace_max, f"threshold {dollars(limits.dollars_per_trace_max)}")
    if found.measured is not None:
        sets = [(each.teacher, each.measured) for each in found.teachers] + [(ALL, found.measured)]
        rows = [_dollar_row(name, each.dollars_per_trace, DATA) for name, each in sets]
        title = "Measured: dollars per trace, mean with interval, | median, ○ p95"
        panels.append(_panel(rows, title, *limit))
        paces = [row for name, each in sets for row in _pace_rows(name, each)]
        if paces:
            title = "Measured: seconds per turn, p95 with interval, | median"
            most = limits.seconds_per_turn_max
            panels.append(_panel(paces, title, most, f"threshold {most:g} s"))
    if found.projected is not None:
        for kind in ("uncached", "cached"):
            of = [*found.projected.teachers, found.projected.total]
            rows = [_dollar_row(each.teacher, getattr(each, kind), DATA_PALE) for each in of]
            said = "without a cache" if kind == "uncached" else "every prefix read from a cache"
            panels.append(_panel(rows, f"Projected, not measured: dollars per trace, {said}", *limit))
    if not panels:
        panels.append(alt.Chart(alt.Data(values=[])).mark_point())
    return styled(alt.vconcat(*panels, spacing=26).properties(title=_title(found)))


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
    said = base.mark_text(align="left", dx=3, color=THRESHOLD, fontSize=10, baseline="bottom")
    return [
        base.mark_rule(color=THRESHOLD, strokeDash=[5, 3], strokeWidth=1.5),
        said.encode(text="name:N", y=alt.value(-4)),
    ]


def _dollar_row(name: str, spread: Spread, colour: str) -> Row:
    interval = f"[{dollars(spread.interval_low)}, {dollars(spread.interval_high)}]"
    return {
        "label": ALL if name == "all" else name,
        "value": spread.mean,
        "low": spread.interval_low,
        "high": spread.interval_high,
        "middle": spread.median,
        "end": spread.p95,
        "text": f"{dollars(spread.mean)}  {interval}",
        "colour": colour,
    }


def _pace_rows(name: str, measured: Measured) -> list[Row]:
    pace: Pace | None = measured.seconds_per_turn
    if pace is None:
        return []
    text = f"{pace.p95:.3g} s  [{pace.p95_low:.3g}, {pace.p95_high:.3g}]"
    return [
        {
            "label": name,
            "value": pace.p95,
            "low": pace.p95_low,
            "high": pace.p95_high,
            "middle": pace.p50,
            "end": pace.p95,
            "text": text,
            "colour": DATA,
        }
    ]


def _title(found: CostVerdict) -> alt.TitleParams:
    size = f"{counted(found.trace_count, 'trace')}, {counted(found.turn_count, 'turn')} measured"
    subtitle = [
        f"{found.spec.experiment_id}: {found.spec.title}",
        f"scale: {found.spec.scale} · {size}",
        f"about: {about(found)}",
    ]
    return outcome_title(found.outcome, subtitle)
