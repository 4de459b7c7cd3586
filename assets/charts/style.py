"""The look of every chart, and its SVG or PNG bytes, rendered in this process and offline.

**One colour for the data, one for the threshold, grey for the rest**, so that charts read without colour too.
"""

from __future__ import annotations

import io
import re
from typing import Any

import altair as alt

INK, QUIET, DATA, DATA_PALE, THRESHOLD = "#1b1f24", "#6b7280", "#1f6fb2", "#9db8d2", "#c2410c"
_GRID, _AXIS = "#eceff2", "#9ca3af"
PNG_SCALE = 2.0
_CLIP = re.compile(r'((?:id="|url\(#)clip)(\d+)')
OUTCOME_COLOURS = {
    "VALIDATED": "#15803d",
    "PARTIAL": "#a16207",
    "INVALIDATED": "#b91c1c",
    "UNDERPOWERED": "#6b7280",
}


def styled(chart: Any) -> Any:
    """The finished chart. Call it once, on the outermost chart."""
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
    """Style of the title over a whole chart."""
    return {"subtitleColor": QUIET, "subtitleFontSize": 12, "subtitlePadding": 6, "frame": "bounds"}


def outcome_title(outcome: str, subtitle: list[str]) -> alt.TitleParams:
    """Title over the chart of a verdict."""
    return alt.TitleParams(
        outcome, subtitle=subtitle, color=OUTCOME_COLOURS[outcome], fontSize=20, offset=18, **title_style()
    )


def chart_svg(chart: Any) -> bytes:
    """SVG, UTF-8; equal charts give equal bytes."""
    text = io.StringIO()
    chart.save(text, format="svg")
    # The renderer numbers clip paths over the whole process; renumber them per chart.
    numbers: dict[str, int] = {}
    renumbered = _CLIP.sub(
        lambda match: f"{match[1]}{numbers.setdefault(match[2], len(numbers))}", text.getvalue()
    )
    return renumbered.encode()


def chart_png(chart: Any) -> bytes:
    """PNG at `PNG_SCALE` pixels per unit."""
    data = io.BytesIO()
    chart.save(data, format="png", scale_factor=PNG_SCALE)
    return data.getvalue()
