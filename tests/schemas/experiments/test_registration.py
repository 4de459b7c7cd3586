"""Goal: one registration stands for each specification; a registered value that has changed since is refused
by name, and a key that was added since is not.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.schemas.experiments.test_experiment import AB
from tracelake.schemas.errors import LockMismatchError
from tracelake.schemas.experiments.experiment import parse_experiment
from tracelake.schemas.experiments.registration import compare_registrations, registration_of

CONFIG: dict[str, Any] = {"grpo": {"epsilon": 0.2}, "auxiliary_losses": {"B": {"dpo_beta": 0.1}}}
EXPERIMENT = parse_experiment(AB, name="file.toml")
REGISTERED = registration_of(EXPERIMENT, CONFIG)


def test_a_registration_has_the_resolved_file_and_the_trainer_config() -> None:
    assert orjson.loads(REGISTERED.spec_json)["training"]["group_size"] == 8
    assert orjson.loads(REGISTERED.trainer_config_json or "") == CONFIG
    assert registration_of(EXPERIMENT).trainer_config_json is None
    compare_registrations(REGISTERED, registration_of(EXPERIMENT, CONFIG))


def test_a_trainer_setting_that_changed_is_refused_by_name() -> None:
    now = registration_of(EXPERIMENT, {**CONFIG, "grpo": {"epsilon": 0.3}})
    with pytest.raises(LockMismatchError, match=r"trainer_config\.grpo\.epsilon: 0\.2 → 0\.3"):
        compare_registrations(REGISTERED, now)
    without = registration_of(EXPERIMENT, {**CONFIG, "grpo": {}})
    with pytest.raises(LockMismatchError, match=r"another trainer_config\.grpo\.epsilon"):
        compare_registrations(REGISTERED, without)


def test_a_default_that_changed_is_refused_by_name() -> None:
    spec = orjson.loads(REGISTERED.spec_json)
    spec["verdict"]["alpha"] = 0.01
    earlier = REGISTERED.model_copy(update={"spec_json": orjson.dumps(spec).decode()})
    with pytest.raises(LockMismatchError, match=r"spec\.verdict\.alpha: 0\.01 → 0\.05"):
        compare_registrations(earlier, REGISTERED)


def test_a_key_that_was_added_since_is_accepted() -> None:
    spec = orjson.loads(REGISTERED.spec_json)
    del spec["training"]["dpo_beta"]
    earlier = REGISTERED.model_copy(
        update={"spec_json": orjson.dumps(spec).decode(), "trainer_config_json": '{"grpo":{"epsilon":0.2}}'}
    )
    compare_registrations(earlier, REGISTERED)
