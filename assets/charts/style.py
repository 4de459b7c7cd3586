"""How every chart looks.

**One colour for the data, one for the threshold, grey for the rest**, so that they read without colour too.
"""

from __future__ import annotations

from typing import Any

import altair as alt

INK, QUIET, DATA, DATA_PALE, THRESHOLD = "#1b1f24", "#6b7280", "#1f6fb2", "#9db8d2", "#c2410c"
_GRID, _AXIS = "#eceff2", "#9ca3af"
OUTCOME_COLOURS = {
    "VALIDATED": "#15803d",
    "PARTIAL": "#a16207",
    "INVALIDATED": "#b91c1c",
    "UNDERPOWERED": "#6b7280",
}


def styled(chart: Any) -> Any:
    """The finished chart; to be called once, on the outermost one."""
    axis = {
        "gridColor": _GRID,
        "domainColor": _AXIS,
        "tickColor": _AXIS,
        "labelColor": INK,
        "titleColor": QUIET,
    }
    return (
        chart.configure(padding=18, background="white", font="sans-serif")
        .configure_view(stroke=None)
        .configure_axis(labelFontSize=11, titleFontSize=11, titleFontWeight="normal", **axis)
        .configure_title(anchor="start", frame="group", color=INK, fontSize=12)
        .configure_legend(labelColor=INK, titleColor=QUIET, orient="top")
    )


def title_style() -> dict[str, Any]:
    """Of the title over a whole chart."""
    return {"subtitleColor": QUIET, "subtitleFontSize": 12, "subtitlePadding": 6, "frame": "bounds"}


def outcome_title(outcome: str, subtitle: list[str]) -> alt.TitleParams:
    """Over the chart of a verdict."""
    return alt.TitleParams(
        outcome, subtitle=subtitle, color=OUTCOME_COLOURS[outcome], fontSize=20, offset=18, **title_style()
    )
