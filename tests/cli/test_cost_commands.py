"""Goal: commands register a cost claim, measure it and derive its verdict, and check recorded costs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.in_process import Run, commands_on
from tests.producers.teachers.priced_server import PricedServer
from tests.producers.teachers.question_lake import question_lake
from tests.schemas.experiments.test_cost_experiment import COST
from tests.traces import STUDENT, rollout
from tracelake.cli.main import main
from tracelake.lake import Lake
from tracelake.schemas.events.event import Event
from tracelake.schemas.events.rollout_events import TurnCompleted

TEACHER = """
[[teachers]]
name = "{name}"
base_url = "{url}"
model = "{name}"
price = {{ input = 3, output = 15 }}
sampling = {{ max_tokens = 60 }}
"""
LIST = '{{"student-1": {{"input_cost_per_token": {rate}, "output_cost_per_token": 0}}}}'


@pytest.fixture
def server() -> Iterator[PricedServer]:
    with PricedServer(caches_prompts=True) as running:
        yield running


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return question_lake(str(tmp_path / "lake"))


@pytest.fixture
def tracelake(lake: Lake, capfd: pytest.CaptureFixture[str]) -> Run:
    return commands_on(lake.uri, capfd)


@pytest.fixture
def experiment(tmp_path: Path, server: PricedServer) -> Path:
    file = "".join(TEACHER.format(name=name, url=server.base_url) for name in ("opus", "gpt"))
    (tmp_path / "teachers.toml").write_text(file)
    path = tmp_path / "experiment.toml"
    path.write_text(COST)
    return path


def verdict(tracelake: Run, tmp_path: Path) -> Any:
    result = tracelake("verdict", "001-small", "--runs", str(tmp_path / "runs"), "--format", "json")
    assert result.code == 0
    return result.data


def test_an_experiment_is_registered_run_and_decided(
    tracelake: Run, experiment: Path, tmp_path: Path
) -> None:
    registered = tracelake("register", str(experiment), "--format", "json")
    assert registered.code == 0
    before = verdict(tracelake, tmp_path)
    assert (before["outcome"], before["measured"]) == ("UNDERPOWERED", None)
    program, *replay = registered.data["commands"][0]
    assert program == "tracelake"
    assert tracelake(*replay).code == 0
    found = verdict(tracelake, tmp_path)
    assert (found["outcome"], found["rehearsal"], found["registered_late"]) == ("VALIDATED", False, False)
    assert found["spec"]["spec_hash"] == registered.data["spec_hash"]
    assert [each["cost_from"] for each in found["teachers"]] == ["provider", "provider"]
    assert all(each["cached_share"] > 0 for each in found["teachers"])
    written = tmp_path / "runs" / "001-small"
    assert sorted(path.name for path in written.iterdir()) == ["verdict.json", "verdict.png", "verdict.svg"]
    assert json.loads((written / "verdict.json").read_text()) == found


def test_the_board_shows_dollars_and_seconds(tracelake: Run, experiment: Path, tmp_path: Path) -> None:
    folder = tmp_path / "experiments"
    folder.mkdir()
    (folder / "one.toml").write_text(COST)
    [row] = tracelake("spikes", "--experiments", str(folder), "--format", "json").data
    assert row["status"] == "OPEN"
    replay = tracelake("register", str(experiment), "--format", "json").data["commands"][0][1:]
    tracelake(*replay)
    [row] = tracelake("spikes", "--experiments", str(folder), "--format", "json").data
    assert row["status"] == "VALIDATED"
    assert "per trace" in row["figure"]
    assert "per turn" in row["figure"]


def test_a_registration_after_the_calls_is_reported(tracelake: Run, experiment: Path, tmp_path: Path) -> None:
    replay = tracelake("register", str(experiment), "--format", "json").data["commands"][0][1:]
    assert tracelake(*replay).code == 0
    experiment.write_text(COST.replace("dollars_per_trace_max = 5.0", "dollars_per_trace_max = 6.0"))
    text = tracelake("register", str(experiment))
    assert "tracelake verdict 001-small" in text.out
    found = verdict(tracelake, tmp_path)
    assert found["registered_late"] is True
    assert found["spec"]["thresholds"]["dollars_per_trace_max"] == 6.0


def test_only_what_can_be_run_is_registered_and_only_arms_are_trained(
    tracelake: Run, experiment: Path
) -> None:
    blocked = tracelake("register", "examples/experiments/003-pairs-from-disagreement.toml")
    assert blocked.code == 1
    assert "blocked by" in blocked.err
    trained = tracelake("train", str(experiment))
    assert trained.code == 1
    assert "nothing to train" in trained.err


def test_nothing_registered_has_no_verdict(tracelake: Run) -> None:
    assert tracelake("verdict", "nobody").code == 1


def recorded(count: int, **fields: Any) -> Iterator[Event]:
    """Rollouts of one turn each, with the usage and cost of their calls."""
    for index in range(count):
        for event in rollout(STUDENT, f"q{index}", "ls"):
            yield event.model_copy(update=fields) if isinstance(event, TurnCompleted) else event


@pytest.fixture
def priced(tmp_path: Path) -> Lake:
    lake = Lake.create(str(tmp_path / "priced"))
    with lake.writer("test") as writer:
        writer.append(recorded(4, prompt_token_count=1000, completion_token_count=7, cost_usd=1.0))
    return lake


@pytest.mark.parametrize(("rate", "code", "equal"), [("1e-3", 0, 4), ("2e-3", 3, 0)])
def test_a_recorded_cost_that_differs_has_an_exit_code(
    capfd: pytest.CaptureFixture[str], priced: Lake, tmp_path: Path, rate: str, code: int, equal: int
) -> None:
    path = tmp_path / "prices.json"
    path.write_text(LIST.format(rate=rate))
    command = ["teachers", "costs", "--prices", f"litellm:{path}", "--lake", priced.uri]
    with pytest.raises(SystemExit) as stop:
        main([*command, "--format", "json"])
    assert stop.value.code == code
    [row] = json.loads(capfd.readouterr().out)
    assert (row["model"], row["turn_count"], row["equal_count"]) == (STUDENT, 4, equal)
    assert float(row["recorded_usd"]) == 4.0
    with pytest.raises(SystemExit):
        main(command)
    assert "4 turns compared" in capfd.readouterr().out


def test_models_without_a_price_are_named_and_no_difference(
    capfd: pytest.CaptureFixture[str], priced: Lake
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["teachers", "costs", "--prices", "genai-prices", "--lake", priced.uri])
    assert stop.value.code == 0
    assert f"0 turns compared, 0 differ; without a price: {STUDENT}" in capfd.readouterr().out


@pytest.mark.parametrize("prices", ["nonsense", "litellm", "litellm:"])
def test_another_price_list_is_wrong_usage(
    capfd: pytest.CaptureFixture[str], priced: Lake, prices: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["teachers", "costs", "--prices", prices, "--lake", priced.uri])
    assert stop.value.code == 2
    assert "--prices" in capfd.readouterr().err
