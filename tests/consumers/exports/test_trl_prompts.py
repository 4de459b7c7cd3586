"""Prompts of tasks for TRL's GRPOTrainer."""

from __future__ import annotations

import datasets
import pytest

from tests.consumers.exports.export_lake import OPENING, UNSTARTED
from tracelake.consumers.exports.export import export
from tracelake.lake import Lake


@pytest.fixture(scope="module")
def prompts(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> datasets.Dataset:
    folder = tmp_path_factory.mktemp("prompts")
    report = export(lake, "traces", "trl-prompts", folder / "out")
    assert sum(report.left_out.values()) == 1
    loaded = datasets.load_dataset(str(folder / "out"), split="train", cache_dir=str(folder / "cache"))
    assert loaded.num_rows == report.rows["prompts"]
    return loaded


def test_rollouts_of_a_task_share_one_prompt(prompts: datasets.Dataset) -> None:
    assert sorted(prompts["task_key"]) == ["q1", "q2", "q3", "q4", "q5", "task-long"]
    assert UNSTARTED not in prompts["task_key"]


def test_prompts_are_messages_and_answers_keep_their_digits(prompts: datasets.Dataset) -> None:
    row = next(row for row in prompts if row["task_key"] == "task-long")
    assert row["prompt"] == OPENING
    assert row["answer"] == "12345678901234567890123"
    assert next(row for row in prompts if row["task_key"] == "q1")["answer"] is None
