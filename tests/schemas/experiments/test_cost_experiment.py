"""Goal: a file that claims a replay's cost names its teachers, prices and thresholds, and nothing else."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.errors import ExperimentInvalidError
from tracelake.schemas.experiments.cost_experiment import CostExperiment
from tracelake.schemas.experiments.experiment import parse_experiment, parse_experiment_fields, spec_hash
from tracelake.schemas.experiments.registration import registration_of

COST = """
type = "replay-cost"
id = "001-small"
title = "A trace costs less than $5"
scale = "two traces"
stop_rule = "Every turn once."
[hypothesis]
given = "traces"
when = "teachers are asked"
then = "it costs less than 5 dollars"
[traces]
filter = "turn_count >= 3"
turn_count_min = 3
[asking]
teachers_file = "teachers.toml"
budget_usd = "5.00"
[[teachers]]
teacher = "opus"
input = 4
cached_input = 0.2
output = 20
[[teachers]]
teacher = "gpt"
input = 2
cached_input = 0.1
output = 10
[thresholds]
dollars_per_trace_max = 5.0
seconds_per_turn_max = 30.0
traces_min = 2
"""


def parse(text: str) -> CostExperiment:
    experiment = parse_experiment(text, name="file.toml")
    assert isinstance(experiment, CostExperiment)
    return experiment


def test_a_file_is_parsed_with_its_defaults() -> None:
    experiment = parse(COST)
    assert [each.teacher for each in experiment.teachers] == ["opus", "gpt"]
    assert experiment.teachers[0].cached_input == Decimal("0.2")
    assert experiment.teachers[0].cache_write is None
    assert experiment.thresholds.answered_share_min == 0.99
    assert experiment.verdict.alpha == 0.05
    assert experiment.gate == "none"


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("traces_min", "trace_min", "thresholds.trace"),
        ("turn_count_min = 3", "turn_count_min = 0", "traces.turn_count_min"),
        ('budget_usd = "5.00"', 'budget_usd = "lots"', "asking.budget_usd"),
        ('budget_usd = "5.00"', "budget_usd = 5.0", "asking.budget_usd"),
        ("input = 4", "input = -4", r"teachers\.0\.input"),
        ("input = 4", "inputs = 4", r"teachers\.0\.input"),
        ("dollars_per_trace_max = 5.0", "dollars_per_trace_max = inf", "dollars_per_trace_max"),
        ("[thresholds]", "[thresholds]\nanswered_share_min = 2", "answered_share_min"),
        ("[hypothesis]", 'pin = "x@1"\n[hypothesis]', "pin"),
        ('teacher = "gpt"', 'teacher = "opus"', "twice"),
    ],
)
def test_a_key_or_value_outside_of_the_contract_is_refused_by_name(old: str, new: str, named: str) -> None:
    assert COST.count(old) == 1
    with pytest.raises(ExperimentInvalidError, match=named):
        parse(COST.replace(old, new))


def test_a_registered_specification_is_read_back_as_the_same_experiment() -> None:
    experiment = parse(COST)
    event = registration_of(experiment)
    assert event.spec_hash == spec_hash(experiment)
    fields = experiment.model_dump(mode="json")
    assert event.spec_json == canonical_text(fields)
    again = parse_experiment_fields(fields, name="lake")
    assert (again, spec_hash(again)) == (experiment, event.spec_hash)
