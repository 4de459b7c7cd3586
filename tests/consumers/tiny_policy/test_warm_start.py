"""Goal: imitation works, is deterministic, and runs once.

Method: a miniature warm start on real demonstrations.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tracelake.consumers.rollouts.play import play_rollouts
from tracelake.consumers.tiny_policy.policy import ModelShape, TinyPolicy
from tracelake.consumers.tiny_policy.warm_start import (
    WarmStartSettings,
    demonstration,
    warm_folder,
    warm_policy,
    warm_start,
)
from tracelake.producers.worlds.tiny_functions.environment import TOOLS, RepairEnvironment
from tracelake.producers.worlds.tiny_functions.oracle import OraclePolicy
from tracelake.producers.worlds.tiny_functions.sandbox import Sandbox
from tracelake.producers.worlds.tiny_functions.tasks import Task, generate_tasks
from tracelake.schemas.message import Message

SETTINGS = WarmStartSettings(
    update_count=200, batch_size=8, adam_rate=6e-3, warm_up_updates=5, shape=ModelShape(48, 2, 2, 96)
)
BRIEF = SETTINGS._replace(update_count=3)


def easy_tasks() -> list[Task]:
    """One family with fixed names: what a policy learns in a second."""
    return [task for task in generate_tasks(0, 2000, "train") if task.family == "is_even"]


@pytest.fixture(scope="module")
def environments() -> Iterator[list[RepairEnvironment]]:
    with Sandbox() as sandbox:
        yield [RepairEnvironment(sandbox) for _ in range(64)]


@pytest.fixture(scope="module")
def demonstrations(environments: list[RepairEnvironment]) -> list[list[Message]]:
    records = play_rollouts(OraclePolicy(), environments, easy_tasks(), turn_limit=5, seed=0)
    return [demonstration(record) for record in records]


def weights_of(policy: TinyPolicy) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in policy.model.parameters()])


def test_a_demonstration_ends_with_its_last_action(demonstrations: list[list[Message]]) -> None:
    assert [message["role"] for message in demonstrations[0]] == [
        *("user", "assistant", "tool", "assistant", "tool", "assistant")
    ]


def test_a_warm_started_policy_imitates_its_demonstrations(
    demonstrations: list[list[Message]], environments: list[RepairEnvironment]
) -> None:
    policy = warm_start(demonstrations, TOOLS, SETTINGS)
    tasks = easy_tasks()[:32]
    records = play_rollouts(policy, environments, tasks, turn_limit=5, seed=1)
    ended = [record.stop_reason == "completed" for record in records]
    solved = [record.rewards["reward"] for record in records]
    assert sum(ended) / len(ended) > 0.8
    assert sum(solved) / len(solved) > 0.7


def test_the_same_arguments_give_the_same_weights(demonstrations: list[list[Message]]) -> None:
    first, second = (weights_of(warm_start(demonstrations, TOOLS, BRIEF)) for _ in range(2))
    other = weights_of(warm_start(demonstrations, TOOLS, BRIEF._replace(seed=1)))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_a_warm_started_policy_is_trained_once_and_then_found(
    demonstrations: list[list[Message]], tmp_path: Path
) -> None:
    first = warm_policy(demonstrations, TOOLS, BRIEF, tmp_path / "cache")
    (folder,) = (tmp_path / "cache").iterdir()
    modified_ns = (folder / "model.safetensors").stat().st_mtime_ns
    second = warm_policy(demonstrations, TOOLS, BRIEF, tmp_path / "cache")
    assert (folder / "model.safetensors").stat().st_mtime_ns == modified_ns
    assert torch.equal(weights_of(first), weights_of(second))


def test_other_arguments_are_another_folder(demonstrations: list[list[Message]], tmp_path: Path) -> None:
    folders = {
        warm_folder(demonstrations, TOOLS, BRIEF, tmp_path),
        warm_folder(demonstrations[1:], TOOLS, BRIEF, tmp_path),
        warm_folder(demonstrations, TOOLS[1:], BRIEF, tmp_path),
        warm_folder(demonstrations, TOOLS, BRIEF._replace(muon_rate=0.01), tmp_path),
    }
    assert len(folders) == 4
    assert set(tmp_path.iterdir()) == folders
