"""The chart of a replay's cost says of whom it speaks, and keeps measured and projected apart."""

from __future__ import annotations

import re

import pytest

from tests.assets.folds.replay_frames import calls, replay, spec
from tests.assets.verdicts.test_projected_cost import RULE, TWO_TURNS, teacher, turns
from tracelake.assets.charts.replay_cost import replay_cost_chart
from tracelake.assets.charts.verdict import chart_png, chart_svg
from tracelake.assets.folds.replay_cost.model import CostVerdict
from tracelake.assets.folds.replay_cost.verdict import replay_cost
from tracelake.assets.verdicts.projected_cost import project_cost


@pytest.fixture(scope="module")
def found() -> CostVerdict:
    projected = project_cost(turns(*TWO_TURNS), (teacher(),), RULE)
    return replay_cost(replay(calls(teachers=["tiny"])), spec(), projected=projected)


def texts(svg: bytes) -> str:
    return " | ".join(re.findall(r">([^<>]+)</t(?:ext|span)>", svg.decode()))


def test_outcome_subject_thresholds_and_figures_are_on_it(found: CostVerdict) -> None:
    said = texts(chart_svg(replay_cost_chart(found)))
    for expected in (
        "UNDERPOWERED",
        "a rehearsal: none of them is of the claim",
        "scale: hand-made",
        "threshold $5.00",
        "threshold 30 s",
        "Projected, not measured: dollars per trace, without a cache",
        "$0.028",
    ):
        assert expected in said


def test_panels_are_there_for_what_is_known(found: CostVerdict) -> None:
    assert len(replay_cost_chart(found).vconcat) == 4
    assert len(replay_cost_chart(found.model_copy(update={"projected": None})).vconcat) == 2
    unmeasured = found.model_copy(update={"measured": None, "teachers": ()})
    assert len(replay_cost_chart(unmeasured).vconcat) == 2
    nothing = unmeasured.model_copy(update={"projected": None})
    assert "UNDERPOWERED" in texts(chart_svg(replay_cost_chart(nothing)))


def test_equal_verdicts_give_equal_bytes(found: CostVerdict) -> None:
    assert chart_svg(replay_cost_chart(found)) == chart_svg(replay_cost_chart(found))
    assert chart_png(replay_cost_chart(found)).startswith(b"\x89PNG")
