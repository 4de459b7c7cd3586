"""Verdicts in the terminal: outcome, scope, figures, reasons and provenance."""

from __future__ import annotations

import pytest

from tests.assets.folds.replay_cost.replay_frames import calls, replay
from tests.assets.folds.replay_cost.replay_frames import spec as cost_spec
from tests.assets.folds.score_frames import scores, spec
from tests.assets.verdicts.test_projected_cost import RULE, TWO_TURNS, teacher, turns
from tracelake.assets.folds.replay_cost.cost_verdict import ReplayEvents, cost_verdict
from tracelake.assets.folds.verdict.ab_model import Verdict
from tracelake.assets.folds.verdict.ab_verdict import ab_verdict
from tracelake.assets.verdicts.projected_cost import project_cost
from tracelake.cli.verdict_text import verdict_text


@pytest.fixture(scope="module")
def verdict() -> Verdict:
    pairs = [(0, 1)] * 40 + [(1, 0)] * 10 + [(1, 1)] * 100
    arms = {
        name: {f"task{i:03d}": [pair[arm]] for i, pair in enumerate(pairs)} for arm, name in enumerate("AB")
    }
    return ab_verdict(scores(arms), spec(pin="pairs@3"))


def test_outcome_scale_interval_and_provenance_are_printed(verdict: Verdict) -> None:
    text = verdict_text(verdict)
    assert text.startswith("VALIDATED   x1: A against B\nscale: hand-made; metric: pass\n")
    assert "B - A = +0.200   95 % interval [+0." in text
    assert "pin pairs@3" in text
    assert all(f"- {reason[:40]}" in text for reason in verdict.reasons)
    assert max(map(len, text.splitlines())) <= 110


def test_every_arm_has_a_row(verdict: Verdict) -> None:
    lines = verdict_text(verdict).splitlines()
    header = next(index for index, line in enumerate(lines) if line.startswith("arm"))
    assert lines[header].split() == ["arm", "mean", "interval", "scores", "ungraded", "missing"]
    for row, arm in zip(lines[header + 1 : header + 3], verdict.arms, strict=True):
        assert row.split()[:2] == [arm.arm, f"{arm.mean:.3f}"]


def test_the_ruler_marks_0_the_minimum_effect_and_the_difference(verdict: Verdict) -> None:
    (line,) = [line for line in verdict_text(verdict).splitlines() if "●" in line]
    value_of = {
        "┊": 0.0,
        "┆": verdict.spec.minimum_effect,
        "├": verdict.interval_low,
        "●": verdict.difference,
        "┤": verdict.interval_high,
    }
    assert sorted(value_of, key=line.index) == sorted(value_of, key=lambda mark: value_of[mark])


def test_markup_in_names_is_printed_as_it_is() -> None:
    a = {"[red]one[/]": [0] * 6, "two": [1] * 6}
    text = verdict_text(ab_verdict(scores({"A": a, "B": a}), spec()))
    assert "[red]one[/]" in text


def test_every_teacher_is_printed_with_its_figures() -> None:
    attempts = [call._replace(failure="timeout") if call.teacher == "gpt" else call for call in calls()]
    text = verdict_text(cost_verdict(replay(attempts), cost_spec()))
    assert "MEASURED on 6 traces, 24 turns" in text
    assert "PROJECTED" not in text
    for expected in ("opus", "gpt", "deepseek", "all together", "timeout 24", "80.0%", "provider"):
        assert expected in text


def test_a_rehearsal_names_itself() -> None:
    rehearsal = cost_verdict(replay(calls(teachers=["tiny-1", "tiny-2"], usd=0.001)), cost_spec())
    assert "a rehearsal" in verdict_text(rehearsal)


def test_a_verdict_without_calls_is_about_nobody() -> None:
    events = replay(calls())
    empty = ReplayEvents(events.turns, *(each.clear() for each in events[1:]))
    assert "nobody" in verdict_text(cost_verdict(empty, cost_spec()))


def test_projected_dollars_have_a_table_of_their_own() -> None:
    projected = project_cost(turns(*TWO_TURNS), (teacher(),), RULE)
    verdict = cost_verdict(replay(calls(usd=5.0)), cost_spec(), projected=projected)
    assert "PROJECTED, not measured: 1 trace, 2 turns" in verdict_text(verdict)
