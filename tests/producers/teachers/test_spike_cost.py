"""Goal: what the first experiment projects is what recorded tokens and listed prices make of it."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from tracelake.assets.verdicts.projected_cost import PROJECTED_COLUMNS, prices_of, project_cost
from tracelake.lake import Lake
from tracelake.producers.teachers.asking.jobs import price_teachers
from tracelake.producers.teachers.spec.teacher_file import read_teacher_file
from tracelake.schemas.experiments.cost_experiment import CostExperiment
from tracelake.schemas.experiments.experiment import load_experiment

FILE = Path(__file__).parents[3] / "examples" / "experiments" / "001-teacher-replay-cost.toml"


@pytest.fixture(scope="module")
def experiment() -> CostExperiment:
    loaded = load_experiment(FILE)
    assert isinstance(loaded, CostExperiment)
    return loaded


def test_the_claims_teachers_and_prices_are_those_of_its_teacher_file(experiment: CostExperiment) -> None:
    teachers = price_teachers(read_teacher_file(FILE.parent / experiment.asking.teachers_file).teachers)
    assert [each.teacher for each in experiment.teachers] == [teacher.name for teacher in teachers]
    for claimed, teacher in zip(experiment.teachers, teachers, strict=True):
        ours, listed = prices_of(claimed), teacher.prices.at(0)
        rates = (ours.input, ours.cached_input, ours.output)
        assert rates == (listed.input, listed.cached_input, listed.output)
        if teacher.spec.marks_cache:
            assert ours.cache_write == listed.cache_write


@pytest.mark.realdata
def test_long_recorded_traces_are_dear_without_a_cache_and_cheap_with_one(
    recorded_lake: Lake, experiment: CostExperiment
) -> None:
    turns = recorded_lake.scan("turn_completed").select(PROJECTED_COLUMNS).collect()
    long = turns.filter(pl.len().over("rollout_id") >= experiment.traces.turn_count_min)
    found = project_cost(long, experiment.teachers, experiment.verdict)
    assert found is not None
    assert (found.trace_count, found.turn_count) == (28, 3424)
    limit = experiment.thresholds.dollars_per_trace_max
    assert found.total.uncached.mean == pytest.approx(25.2212, abs=1e-4)
    assert found.total.uncached.interval_low > limit
    assert found.total.cached.mean == pytest.approx(2.4628, abs=1e-4)
    assert found.total.cached.interval_high < limit
