"""The chart of a replay's cost names its teachers, and separates measured from projected figures."""

from __future__ import annotations

import re

import pytest

from tests.assets.folds.replay_cost.replay_frames import calls, replay, spec
from tests.assets.verdicts.test_projected_cost import RULE, TWO_TURNS, teacher, turns
from tracelake.assets.charts.cost_verdict import cost_verdict_chart
from tracelake.assets.charts.style import chart_png, chart_svg
from tracelake.assets.folds.replay_cost.cost_model import CostVerdict
from tracelake.assets.folds.replay_cost.cost_verdict import cost_verdict
from tracelake.assets.verdicts.projected_cost import project_cost


@pytest.fixture(scope="module")
def found() -> CostVerdict:
    projected = project_cost(turns(*TWO_TURNS), (teacher(),), RULE)
    return cost_verdict(replay(calls(teachers=["tiny"])), spec(), projected=projected)


def texts(svg: bytes) -> str:
    return " | ".join(re.findall(r">([^<>]+)</t(?:ext|span)>", svg.decode()))


def test_outcome_subject_thresholds_and_figures_are_on_it(found: CostVerdict) -> None:
    text = texts(chart_svg(cost_verdict_chart(found)))
    for expected in (
        "UNDERPOWERED",
        "a rehearsal: none of them is of the claim",
        "scale: hand-made",
        "threshold $5.00",
        "threshold 30 s",
        "Projected, not measured: dollars per trace, without a cache",
        "$0.028",
    ):
        assert expected in text


def test_only_known_figures_have_panels(found: CostVerdict) -> None:
    assert len(cost_verdict_chart(found).vconcat) == 4
    assert len(cost_verdict_chart(found.model_copy(update={"projected": None})).vconcat) == 2
    unmeasured = found.model_copy(update={"measured": None, "teachers": ()})
    assert len(cost_verdict_chart(unmeasured).vconcat) == 2
    without_panels = unmeasured.model_copy(update={"projected": None})
    assert "UNDERPOWERED" in texts(chart_svg(cost_verdict_chart(without_panels)))


def test_equal_verdicts_give_equal_bytes(found: CostVerdict) -> None:
    assert chart_svg(cost_verdict_chart(found)) == chart_svg(cost_verdict_chart(found))
    assert chart_png(cost_verdict_chart(found)).startswith(b"\x89PNG")
