"""Goal: an experiment file says exactly what is run; anything else in it is refused by name."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from tracelake.schemas.errors import BadInputError, ExperimentInvalidError, SourceMissingError
from tracelake.schemas.experiments.experiment import (
    Experiment,
    PlannedExperiment,
    Training,
    load_experiment,
    parse_experiment,
    spec_hash,
)

AB = """
type = "ab"
id = "004-small"
title = "Plain against pairs"
scale = "small world"
world = "tiny"
seeds = [1, 2, 3]
stop_rule = "All seeds once."
[hypothesis]
given = "a policy"
when = "a term joins"
then = "it rises"
[data]
pin = "small-world@1"
[arms.A]
title = "GRPO"
[arms.B]
title = "GRPO and pairs"
pair_weight = 0.5
[training]
train_steps = 3
[evaluation]
task_count = 10
[verdict]
minimum_effect = 0.02
"""
PLANNED = """
type = "planned"
id = "001-cost"
title = "Cost of a replay"
blocked_by = "an API key"
[hypothesis]
given = "traces"
when = "teachers are asked"
then = "it costs less than 5 dollars"
[thresholds]
cost_usd_max = 5.0
"""


def parse(text: str) -> Experiment | PlannedExperiment:
    return parse_experiment(text, name="file.toml")


def test_both_types_of_file_are_parsed_with_their_defaults() -> None:
    experiment = parse(AB)
    assert isinstance(experiment, Experiment)
    assert experiment.arms["A"].pair_weight == 0.0
    assert experiment.arms["B"].pair_weight == 0.5
    assert experiment.training.group_size == 8
    assert experiment.seeds == (1, 2, 3)
    planned = parse(PLANNED)
    assert isinstance(planned, PlannedExperiment)
    assert planned.thresholds == {"cost_usd_max": 5.0}


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("title = ", "titel = ", "titel"),
        ("[verdict]", "[verdict]\nminimum_efect = 0.1", "verdict.minimum_efect"),
        ("[arms.B]", "[arms.B]\npair_wieght = 0.5", "arms.B.pair_wieght"),
        ("[training]", "[training]\nlr = 0.1", "training.lr"),
        ("[arms.B]", "[arms.C]", "arms.C"),
        ('type = "ab"', 'type = "abc"', "abc"),
        ('type = "ab"', "", "its top"),
        ('id = "004-small"', 'id = "../004"', "id"),
        ("train_steps = 3", "train_steps = 0", "training.train_steps"),
        ("pair_weight = 0.5", "pair_weight = -0.5", "arms.B.pair_weight"),
        ("pair_weight = 0.5", "pair_weight = inf", "arms.B.pair_weight"),
        ("pair_weight = 0.5", "pair_weight = nan", "arms.B.pair_weight"),
        ("minimum_effect = 0.02", "", "verdict.minimum_effect"),
        ("seeds = [1, 2, 3]", "seeds = []", "seeds"),
        ("[data]", "[data]\npairs_level = 'L9'", "data.pairs_level"),
    ],
)
def test_a_key_or_value_outside_of_the_contract_is_refused_by_name(old: str, new: str, named: str) -> None:
    assert AB.count(old) >= 1
    with pytest.raises(ExperimentInvalidError, match=named):
        parse(AB.replace(old, new, 1))


@pytest.mark.parametrize(
    "pin", ["small-world", "small-world@", "@1", "small-world@latest", "a@1@2", "../x@1", ""]
)
def test_a_pin_that_could_move_is_refused(pin: str) -> None:
    with pytest.raises(ExperimentInvalidError, match=r"moving pin.*name@N"):
        parse(AB.replace("small-world@1", pin))


def test_repeated_seeds_and_a_lone_arm_are_refused() -> None:
    with pytest.raises(ExperimentInvalidError, match="repeats a seed"):
        parse(AB.replace("[1, 2, 3]", "[1, 2, 1]"))
    with pytest.raises(ExperimentInvalidError, match="two arms"):
        parse(AB.replace('[arms.B]\ntitle = "GRPO and pairs"\npair_weight = 0.5', ""))


@pytest.mark.parametrize("text", ["type = ", "a = 1\na = 2", "\x00"])
def test_a_file_that_is_not_toml_is_refused(text: str) -> None:
    with pytest.raises(ExperimentInvalidError, match="not TOML"):
        parse(text)


def test_a_file_is_loaded_and_its_errors_are_typed(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(AB)
    assert load_experiment(path) == parse(AB)
    path.write_bytes(b"title = '\xff'")
    with pytest.raises(ExperimentInvalidError, match=r"a\.toml"):
        load_experiment(path)
    for absent in (tmp_path / "b.toml", tmp_path):
        with pytest.raises(SourceMissingError):
            load_experiment(absent)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.02", "0.03"),
        ("[1, 2, 3]", "[1, 3, 2]"),
        ("small-world@1", "small-world@2"),
        ("a policy", "no policy"),
    ],
)
def test_the_hash_is_of_the_values_that_differ_from_defaults(old: str, new: str) -> None:
    assert spec_hash(parse(AB)) == spec_hash(parse(f"# A comment.\n{AB}\nrequired_power = 0.80\n"))
    assert spec_hash(parse(AB)) != spec_hash(parse(AB.replace(old, new)))


def test_a_new_key_with_a_default_leaves_the_hash_as_it_is() -> None:
    class LaterTraining(Training):
        new_setting: float = 0.5

    class LaterExperiment(Experiment):
        training: LaterTraining
        new_key: str = "default"

    fields = tomllib.loads(AB)
    assert spec_hash(LaterExperiment(**fields)) == spec_hash(parse(AB))
    changed = fields | {"training": fields["training"] | {"new_setting": 0.6}}
    assert spec_hash(LaterExperiment(**changed)) != spec_hash(parse(AB))
    assert spec_hash(LaterExperiment(**fields, new_key="another")) != spec_hash(parse(AB))


def test_writing_a_default_out_leaves_the_hash_as_it_is() -> None:
    explicit = AB.replace("train_steps = 3", "train_steps = 3\ngroup_size = 8\nlearning_rate = 1e-4")
    assert spec_hash(parse(explicit)) == spec_hash(parse(AB))
    assert spec_hash(parse(explicit.replace("group_size = 8", "group_size = 4"))) != spec_hash(parse(AB))


def test_a_renamed_key_is_refused_with_its_new_name() -> None:
    with pytest.raises(ExperimentInvalidError, match=r"arms\.B\.replay_weight.*new name, `pair_weight`"):
        parse(AB.replace("pair_weight", "replay_weight"))


def test_an_arm_is_found_by_its_name() -> None:
    experiment = parse(AB)
    assert isinstance(experiment, Experiment)
    assert experiment.arm("B") == experiment.arms["B"]
    with pytest.raises(BadInputError, match="expected A, B"):
        experiment.arm("C")


def shipped() -> list[Path]:
    return sorted((Path(__file__).parents[3] / "examples" / "experiments").glob("*.toml"))


@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.stem)
def test_every_shipped_file_is_an_experiment_and_can_be_hashed(path: Path) -> None:
    experiment: Any = load_experiment(path)
    assert len(spec_hash(experiment)) == 64
