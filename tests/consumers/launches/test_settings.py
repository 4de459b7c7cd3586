"""Goal: no setting that shapes an update is an unregistered default.

Method: defaults of TRL and of ours are changed behind the experiment's back, or the lock file is edited; the
next launch is refused and names the key.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import orjson
import pytest
from trl import GRPOConfig

from tests.consumers.launches.test_launch import TEXT, Place
from tracelake.consumers.auxiliary_losses import AuxiliaryLossConfig
from tracelake.consumers.launches import settings
from tracelake.consumers.launches.settings import UNREGISTERED, auxiliary_loss_config, trainer_config
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.errors import LockMismatchError
from tracelake.schemas.experiments.experiment import Experiment, parse_experiment


def experiment() -> Experiment:
    parsed = parse_experiment(TEXT, name="test")
    assert isinstance(parsed, Experiment)
    return parsed


def test_every_setting_is_registered_except_seeds_paths_and_facts_of_the_machine(tmp_path: Path) -> None:
    config = trainer_config(experiment())
    fields = GRPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False).to_dict().keys()
    unregistered = fields - config["grpo"].keys()
    assert {"epsilon", "num_iterations", "max_grad_norm", "adam_beta1", "weight_decay", "top_p"} <= config[
        "grpo"
    ].keys()
    assert {"seed", "output_dir", "use_cpu", "report_to", "hub_token", "save_steps"} <= unregistered
    assert UNREGISTERED - {"pair_seed"} <= fields
    for losses in config["auxiliary_losses"].values():
        assert losses.keys() == AuxiliaryLossConfig.model_fields.keys() - {"pair_seed"}
    assert str(tmp_path) not in canonical_text(config)


def test_a_setting_has_the_same_name_from_the_file_to_the_loss() -> None:
    text = TEXT.replace(
        "checkpoint_every = 2",
        "checkpoint_every = 2, dpo_beta = 0.3, pairs_per_micro_batch = 2, pair_prompt_token_limit = 9",
    )
    parsed = parse_experiment(text, name="test")
    assert isinstance(parsed, Experiment)
    shared = (
        Experiment.model_fields["training"].annotation.model_fields.keys()
        & AuxiliaryLossConfig.model_fields.keys()
    )
    assert shared == {"dpo_beta", "pairs_per_micro_batch", "pair_prompt_token_limit"}
    losses = auxiliary_loss_config(parsed, "B", 5)
    assert {name: getattr(losses, name) for name in shared} == {
        name: getattr(parsed.training, name) for name in shared
    }
    assert (losses.pair_weight, losses.sdpo_weight, losses.pair_seed) == (0.5, 0.0, 5)


def test_a_default_of_trl_that_changed_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path)
    place.lock()
    monkeypatch.setattr(settings, "GRPOConfig", partial(GRPOConfig, epsilon=0.3))
    with pytest.raises(LockMismatchError, match=r"trainer_config\.grpo\.epsilon: 0\.2 → 0\.3"):
        place.lock()


def test_a_default_of_a_channel_that_changed_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path)
    place.lock()
    monkeypatch.setattr(settings, "AuxiliaryLossConfig", partial(AuxiliaryLossConfig, pair_sft_weight=0.1))
    with pytest.raises(LockMismatchError, match=r"auxiliary_losses\.B\.pair_sft_weight: 0\.05 → 0\.1"):
        place.lock()


def test_an_edited_lock_file_is_refused_by_name(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.lock()
    path = tmp_path / "lock.json"
    lock = orjson.loads(path.read_bytes())
    lock["trainer_config"]["grpo"]["max_grad_norm"] = 0.5
    path.write_bytes(orjson.dumps(lock))
    with pytest.raises(LockMismatchError, match=r"trainer_config\.grpo\.max_grad_norm: 0\.5 → 1"):
        place.lock()
