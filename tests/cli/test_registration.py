"""Goal: an experiment is registered once, with every resolved setting, and a cost experiment without torch.

Method: registrations in a lake of their own; defaults are changed between two of them.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import orjson
import pytest

from tests.consumers.launches.test_launch import TEXT
from tracelake.cli.registration import register_experiment
from tracelake.consumers.launches import settings
from tracelake.lake import Lake
from tracelake.schemas.errors import LockMismatchError
from tracelake.schemas.experiments.experiment import Experiment, parse_experiment

COST_EXPERIMENT = Path(__file__).parents[2] / "examples" / "experiments" / "001-teacher-replay-cost.toml"
REGISTER_WITHOUT_TORCH = """
import sys
from pathlib import Path
from tracelake.cli.registration import register_experiment
from tracelake.lake import Lake
from tracelake.schemas.experiments.experiment import load_runnable

register_experiment(Lake.create("memory://costs"), load_runnable(Path(sys.argv[1])))
assert not {"torch", "trl", "tracelake.consumers"} & sys.modules.keys()
"""
IMPORT_WITHOUT_TRL = """
import sys
sys.modules["trl"] = None
from tracelake.cli.main import main
main(["train", sys.argv[1], "--lake", sys.argv[2]])
"""


def experiment() -> Experiment:
    parsed = parse_experiment(TEXT, name="test")
    assert isinstance(parsed, Experiment)
    return parsed


def registrations(lake: Lake) -> list[dict[str, object]]:
    lake.project(["experiment_registered"])
    return lake.scan("experiment_registered").collect().to_dicts()


def test_registering_again_is_a_no_op(fresh_lake: Lake) -> None:
    first = register_experiment(fresh_lake, experiment())
    assert register_experiment(fresh_lake, experiment()) == first
    [row] = registrations(fresh_lake)
    assert row["spec_hash"] == first.spec_hash
    config = orjson.loads(str(row["trainer_config_json"]))
    assert config["grpo"]["epsilon"] == 0.2
    assert config["auxiliary_losses"]["B"]["pair_sft_weight"] == 0.05


def test_a_default_that_changed_since_is_refused_and_lands_nothing(
    fresh_lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_experiment(fresh_lake, experiment())
    monkeypatch.setattr(settings, "GRPOConfig", partial(settings.GRPOConfig, num_iterations=2))
    with pytest.raises(LockMismatchError, match=r"trainer_config\.grpo\.num_iterations: 1 → 2"):
        register_experiment(fresh_lake, experiment())
    assert len(registrations(fresh_lake)) == 1


def test_a_cost_experiment_is_registered_without_torch() -> None:
    subprocess.run([sys.executable, "-c", REGISTER_WITHOUT_TORCH, str(COST_EXPERIMENT)], check=True)


def test_without_the_training_libraries_the_command_names_the_extra(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_WITHOUT_TRL, str(COST_EXPERIMENT), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    message = " ".join(done.stderr.split())
    assert done.returncode == 1
    assert "MissingExtraError" in message
    assert "trl not installed" in message
    assert "pip install 'tracelake[train]'" in message
