"""The chart of an A/B verdict: means of arms, the paired difference, slices.

**The scale is under the title**: it is the scope of the verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import altair as alt

from tracelake.assets.charts.style import DATA, INK, OUTCOME_COLOURS, QUIET, THRESHOLD, outcome_title, styled
from tracelake.assets.folds.verdict.ab_model import Verdict
from tracelake.assets.folds.verdict.verdict_base import counted, signed

WIDTH = 560
SLICES_MAX = 12
_ROW_PIXELS = 30
_LABEL_PIXELS_MAX = 170

Rows = Sequence[dict[str, object]]


class _Mark(NamedTuple):
    """A named vertical line; `side` is the end of the name that touches the line."""

    at: float
    name: str
    colour: str
    dash: list[int]
    side: Literal["left", "right"]


def ab_verdict_chart(verdict: Verdict) -> alt.VConcatChart:
    """Means of arms; the paired difference against 0 and the minimum effect; slices, if there are any."""
    percent = f"{100 * (1 - verdict.spec.alpha):g} %"
    marks = _marks(verdict)
    arms, difference = _arm_rows(verdict), _difference_rows(verdict)
    thresholds = [mark.at for mark in marks]
    panels: list[Any] = [
        _forest(arms, f"Mean {verdict.spec.metric} per arm, {percent} interval", [], _domain(arms, [])),
        _forest(difference, f"Paired difference, {percent} interval", marks, _domain(difference, thresholds)),
    ]
    if verdict.slices:
        rows = _slice_rows(verdict)
        title = f"Difference per slice, corrected for {counted(len(verdict.slices), 'slice')}"
        panels.append(_forest(rows, title, marks, _domain(rows, thresholds)))
    return styled(alt.vconcat(*panels, spacing=24).properties(title=_title(verdict)))


def _forest(
    rows: Rows, title: str, marks: Sequence[_Mark], domain: tuple[float, float]
) -> alt.LayerChart | alt.FacetChart:
    """Points with intervals, one row each, over vertical marks; figures in a column on the right."""
    axis = alt.Axis(domain=False, ticks=False, labelPadding=8, labelLimit=_LABEL_PIXELS_MAX, grid=False)
    scale = alt.Scale(domain=list(domain), nice=False, zero=False)
    horizontal = {"scale": scale, "title": None, "axis": alt.Axis(tickCount=8)}
    base = alt.Chart(alt.Data(values=list(rows))).encode(
        y=alt.Y("label:N", title=None, sort=None, axis=axis),
        color=alt.Color("colour:N", scale=None, legend=None),
    )
    interval = base.mark_rule(strokeWidth=3, opacity=0.5).encode(x=alt.X("low:Q", **horizontal), x2="high:Q")
    ends = [
        base.mark_tick(size=11, thickness=2).encode(x=alt.X(f"{end}:Q", **horizontal))
        for end in ("low", "high")
    ]
    points = base.mark_point(filled=True, size=80, opacity=1).encode(x=alt.X("value:Q", **horizontal))
    figures = base.mark_text(align="left", fontSize=11).encode(
        x=alt.value(WIDTH + 10), text="text:N", color=alt.value(INK)
    )
    lines = [layer for mark in marks for layer in _mark_layers(mark, horizontal)]
    return alt.layer(*lines, interval, *ends, points, figures).properties(
        width=WIDTH,
        height=alt.Step(_ROW_PIXELS),
        title=alt.TitleParams(title, color=QUIET, offset=10),
    )


def _mark_layers(mark: _Mark, horizontal: dict[str, Any]) -> list[alt.Chart]:
    """A vertical line with its name above the panel, on the side where names do not overlap."""
    base = alt.Chart(alt.Data(values=[{"at": mark.at, "name": mark.name}])).encode(
        x=alt.X("at:Q", **horizontal)
    )
    name = base.mark_text(
        align=mark.side,
        dx=-3 if mark.side == "right" else 3,
        color=mark.colour,
        fontSize=10,
        baseline="bottom",
    )
    return [
        base.mark_rule(color=mark.colour, strokeDash=mark.dash, strokeWidth=1.5),
        name.encode(text="name:N", y=alt.value(-4)),
    ]


def _marks(verdict: Verdict) -> list[_Mark]:
    least = verdict.spec.minimum_effect
    return [
        _Mark(0.0, "no effect", QUIET, [1, 0], "right"),
        _Mark(least, f"minimum effect {signed(least)}", THRESHOLD, [5, 3], "left"),
    ]


def _domain(rows: Rows, also: Sequence[float]) -> tuple[float, float]:
    """The range of everything drawn, with a margin at both ends."""
    points = [float(str(row[end])) for row in rows for end in ("low", "high")] + list(also)
    margin = 0.06 * (max(points) - min(points)) or 0.05
    return min(points) - margin, max(points) + margin


def _arm_rows(verdict: Verdict) -> list[dict[str, object]]:
    return [
        _row(arm.arm, arm.mean, arm.interval_low, arm.interval_high, "", sign=False) for arm in verdict.arms
    ]


def _difference_rows(verdict: Verdict) -> list[dict[str, object]]:
    label = f"{verdict.spec.treatment_arm} − {verdict.spec.control_arm}"
    return [_row(label, verdict.difference, verdict.interval_low, verdict.interval_high, "")]


def _slice_rows(verdict: Verdict) -> list[dict[str, object]]:
    """The slices with the smallest p values, by name."""
    shown = sorted(verdict.slices, key=lambda each: (each.p_value, each.cluster))[:SLICES_MAX]
    return [
        _row(each.cluster, each.difference, each.interval_low, each.interval_high, each.finding)
        for each in sorted(shown, key=lambda each: each.cluster)
    ]


def _row(
    label: str, value: float, low: float, high: float, finding: str, *, sign: bool = True
) -> dict[str, object]:
    shown = [signed(number) if sign else f"{number:.3f}" for number in (value, low, high)]
    colour = {"harmful": OUTCOME_COLOURS["INVALIDATED"], "inconclusive": QUIET}.get(finding, DATA)
    text = f"{shown[0]}  [{shown[1]}, {shown[2]}]"
    return {"label": label, "value": value, "low": low, "high": high, "text": text, "colour": colour}


def _title(verdict: Verdict) -> alt.TitleParams:
    spec = verdict.spec
    size = f"{counted(len(verdict.seeds), 'seed')} × {counted(verdict.task_count, 'task')}"
    compared = "two methods" if verdict.compares == "methods" else "two checkpoints, not two methods"
    subtitle = [
        f"{spec.experiment_id}: {spec.title}",
        f"scale: {spec.scale} · {size} · compares {compared}",
        f"power at the minimum effect {verdict.achieved_power:.2f} · smallest effect found with power "
        f"{spec.required_power:.2f}: {verdict.minimum_detectable_effect:.3f}",
    ]
    return outcome_title(verdict.outcome, subtitle)
