"""Charts of verdicts and of disagreement render offline and show their figures."""

from __future__ import annotations

import re
import struct

import polars as pl
import pytest

from tests.assets.folds.answer_frames import disagreement_of, frame, teacher
from tests.assets.folds.score_frames import scores, spec
from tracelake.assets.charts.ab_verdict import ab_verdict_chart
from tracelake.assets.charts.disagreement import disagreement_chart
from tracelake.assets.charts.style import chart_png, chart_svg
from tracelake.assets.folds.verdict.ab_model import Verdict
from tracelake.assets.folds.verdict.ab_verdict import ab_verdict


@pytest.fixture(scope="module")
def found() -> Verdict:
    a = {"one": [0] * 30, "two": [0, 1] * 15, "three": [1, 0] * 15}
    return ab_verdict(scores({"A": a, "B": a | {"one": [1] * 30}}), spec())


@pytest.fixture(scope="module")
def split() -> pl.DataFrame:
    votes_at = {"s0": "aaa", "s1": "aab", "s2": "abc", "s3": "aab"}
    rows = [
        teacher(state, "ABC"[i], letter)
        for state, letters in votes_at.items()
        for i, letter in enumerate(letters)
    ]
    return disagreement_of(frame(*rows))


def texts(svg: bytes) -> str:
    return " | ".join(re.findall(r">([^<>]+)</t(?:ext|span)>", svg.decode()))


def test_the_verdict_is_written_on_its_chart(found: Verdict) -> None:
    text = texts(chart_svg(ab_verdict_chart(found)))
    for expected in (
        "PARTIAL",
        "x1: A against B",
        "scale: hand-made",
        "not two methods",
        "minimum effect +0.100",
    ):
        assert expected in text
    for arm in found.arms:
        assert f"{arm.mean:.3f}  [{arm.interval_low:.3f}, {arm.interval_high:.3f}]" in text
    assert f"{found.difference:+.3f}  [{found.interval_low:+.3f}, {found.interval_high:+.3f}]" in text
    assert all(each.cluster in text for each in found.slices)


def test_a_verdict_without_slices_has_two_panels(found: Verdict) -> None:
    whole = found.model_copy(update={"slices": ()})
    assert len(ab_verdict_chart(whole).vconcat) == 2
    assert len(ab_verdict_chart(found).vconcat) == 3


def test_the_axis_covers_everything_drawn(found: Verdict) -> None:
    panel = ab_verdict_chart(found).to_dict()["vconcat"][1]
    low, high = panel["layer"][0]["encoding"]["x"]["scale"]["domain"]
    assert low < min(0, found.interval_low)
    assert high > max(found.spec.minimum_effect, found.interval_high)


def test_patterns_and_entropies_are_counted(split: pl.DataFrame) -> None:
    svg = chart_svg(disagreement_chart(split))
    text = texts(svg)
    for expected in (
        "Disagreement of teachers",
        "4 states",
        "3-0",
        "2-1",
        "1-1-1",
        "L0",
        "L1",
        "Vote entropy at L1, nats",
    ):
        assert expected in text


def test_patterns_are_ordered_from_most_to_least_agreed(split: pl.DataFrame) -> None:
    text = texts(chart_svg(disagreement_chart(split)))
    assert text.index("3-0") < text.index("2-1") < text.index("1-1-1")


def test_an_empty_frame_gives_a_chart(split: pl.DataFrame) -> None:
    assert chart_svg(disagreement_chart(split.clear())).startswith(b"<svg")


@pytest.mark.parametrize("which", ["verdict", "disagreement"])
def test_png_and_svg_are_valid_and_repeatable(which: str, found: Verdict, split: pl.DataFrame) -> None:
    chart = ab_verdict_chart(found) if which == "verdict" else disagreement_chart(split)
    svg, png = chart_svg(chart), chart_png(chart)
    assert svg.startswith(b"<svg")
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", png[16:24])
    assert width > 800
    assert height > 400
    assert chart_svg(chart) == svg
