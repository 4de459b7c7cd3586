"""Datasets that `datasets` loads offline, and their card."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest
import yaml

from tests.consumers.exports.export_lake import CLOSED_TEACHER, LONG, OPEN_TEACHER, OPENING, TASK, UNSTARTED
from tracelake.consumers.exports.export import ExportReport, export
from tracelake.lake import Lake


@pytest.fixture(scope="module")
def folder(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hf") / "out"


@pytest.fixture(scope="module")
def report(lake: Lake, folder: Path) -> ExportReport:
    return export(lake, "all@1", "hf", folder)


@pytest.fixture(scope="module")
def load(report: ExportReport, folder: Path, tmp_path_factory: pytest.TempPathFactory):
    cache = str(tmp_path_factory.mktemp("cache"))

    def load_part(name: str | None = None) -> datasets.Dataset:
        return datasets.load_dataset(str(folder), name, split="train", cache_dir=cache)

    return load_part


def test_every_part_loads_and_turns_are_the_default(load, report: ExportReport) -> None:
    loaded = {name: load(name).num_rows for name in ("turns", "trajectories", "pairs")}
    assert loaded == report.rows
    assert load().column_names == load("turns").column_names


def test_nested_values_are_json_text(load) -> None:
    turn = next(row for row in load("turns") if row["rollout_id"] == LONG)
    assert json.loads(turn["state_json"]) == OPENING
    assert json.loads(turn["action_json"])["tool_calls"][0]["function"]["name"] == "bash"
    assert turn["prompt_ids"] == [10]
    assert turn["sampling_logprobs"] == pytest.approx([-0.1, -0.25])


def test_trajectories_have_the_whole_conversation_and_the_longest_recording(load) -> None:
    rows = {row["rollout_id"]: row for row in load("trajectories")}
    long = rows[LONG]
    assert [message["role"] for message in json.loads(long["messages_json"])] == [
        *("system", "user", "assistant", "tool", "assistant", "user", "assistant")
    ]
    assert long["submission"] == "x x x"
    assert long["reward"] == 0.75
    assert json.loads(long["task_json"]) == TASK
    assert {each["name"]: each["score"] for each in json.loads(long["rewards_json"])} == {
        "reward": 0.75,
        "style": None,
    }
    assert rows[UNSTARTED]["messages_json"] == "[]"
    assert rows[UNSTARTED]["error"] == "no model"


def test_pairs_are_those_of_teachers_whose_terms_allow_it(load, report: ExportReport) -> None:
    assert set(load("pairs")["teacher"]) == {OPEN_TEACHER}
    assert {(each.teacher, each.distillable) for each in report.withheld} == {
        (CLOSED_TEACHER, False),
        ("teacher-c", None),
    }


def test_the_card_names_pin_digests_teachers_terms_and_losses(
    lake: Lake, report: ExportReport, folder: Path
) -> None:
    text = (folder / "README.md").read_text(encoding="utf-8")
    header = yaml.safe_load(text.split("---")[1])
    pin = lake.open_pin("all@1").pin
    assert header["tracelake"]["pin"] == "all@1"
    assert header["tracelake"]["pin_digest"] == pin.digest
    assert header["tracelake"]["tables"] == {name: table.digest for name, table in pin.tables.items()}
    assert header["tracelake"]["rows"] == report.rows
    assert [config["config_name"] for config in header["configs"]] == ["turns", "trajectories", "pairs"]
    lines = text.splitlines()
    assert "| `a-open` | `a-open-model` | asked | `apache-2.0` | yes | 2 | yes |" in lines
    # Marks that would end the cell or the code are replaced.
    assert "| `b-closed` | `b-closed-model` | asked | `terms of / 'service'` | no | 2 | withheld |" in lines
    assert "| `teacher-c` | `teacher-c` | harvested | unknown | unknown | 2 | withheld |" in lines
    assert "0 pieces of sources were refused" in text
    assert "| `other-model` | 1 |" in lines


def test_a_pin_of_pairs_alone_gives_pairs_alone(lake: Lake, tmp_path: Path) -> None:
    assert list(export(lake, "pairs", "hf", tmp_path / "out").rows) == ["pairs"]


def test_a_pin_of_rollouts_alone_gives_rollouts_alone(lake: Lake, tmp_path: Path) -> None:
    assert list(export(lake, "traces", "hf", tmp_path / "out").rows) == ["turns", "trajectories"]
