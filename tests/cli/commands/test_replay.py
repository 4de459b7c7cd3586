"""Goal: `tracelake replay` and `tracelake teachers` say what they do and what it costs, with exit codes that
scripts can trust."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.in_process import Run, commands_on
from tests.producers.teachers.priced_server import PricedServer
from tests.producers.teachers.question_lake import question_lake
from tracelake.lake import Lake

TEACHER = """
[[teachers]]
name = "{name}"
base_url = "{url}"
model = "model-{name}"
tier = {tier}
price = {price}
sampling = {{ max_tokens = 60 }}
"""
PAID = "{ input = 3, output = 15 }"


@pytest.fixture
def server() -> Iterator[PricedServer]:
    with PricedServer() as running:
        yield running


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return question_lake(str(tmp_path / "lake"))


@pytest.fixture
def tracelake(lake: Lake, server: PricedServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command on the lake with the file of one paid teacher."""
    write(tmp_path, server)

    return commands_on(lake.uri, capfd, "--teachers", str(tmp_path / "teachers.toml"))


def write(folder: Path, server: PricedServer, *teachers: str) -> None:
    text = "".join(teachers) or TEACHER.format(name="one", url=server.base_url, tier=0, price=PAID)
    (folder / "teachers.toml").write_text(text)


def test_a_dry_run_says_what_it_would_cost_and_sends_nothing(tracelake: Run, server: PricedServer) -> None:
    output = tracelake("replay", "--dry-run", "--format", "json")
    assert output.code == 0
    assert output.data["call_count"] == 6
    assert 0 < output.data["cost_usd"]["expected"] < output.data["max_cost_usd"]
    text = tracelake("replay", "--dry-run", "--budget", "5.00")
    assert "6 calls left" in text.out
    assert "budget $5.00" in text.out
    assert server.counts().charged_microusd == 0


def test_a_replay_within_its_budget_ends_well_and_again_at_once(
    tracelake: Run, server: PricedServer, lake: Lake
) -> None:
    output = tracelake("replay", "--budget", "5.00", "--format", "json")
    assert output.code == 0
    assert (output.data["answered_count"], output.data["stopped"]) == (6, None)
    assert output.data["settled_usd"] == pytest.approx(server.counts().charged_microusd / 10**6)
    again = tracelake("replay", "--budget", "5.00")
    assert again.code == 0
    assert "0 new answers, 6 known" in again.out
    assert lake.scan("teacher_answered").collect().height == 6


def test_the_cap_has_an_exit_code_of_its_own_and_says_what_is_left(tracelake: Run) -> None:
    output = tracelake("replay", "--budget", "0.007", "--format", "json")
    assert output.code == 4
    assert output.data["stopped"] == "budget"
    assert output.data["left_count"] == 6 - output.data["answered_count"] > 0
    text = tracelake("replay", "--budget", "0.007")
    assert text.code == 4
    assert "stopped: budget" in text.out
    assert "left: " in text.out
    assert tracelake("replay", "--budget", "1").code == 0


def test_answers_that_are_missing_have_an_exit_code(
    tracelake: Run, server: PricedServer, tmp_path: Path
) -> None:
    write(tmp_path, server, TEACHER.format(name="lost", url=f"{server.base_url}/no", tier=0, price='"free"'))
    output = tracelake("replay")
    assert output.code == 1
    assert "not_found" in output.out
    assert "Run the same command again" in output.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "--budget"),
        (("--budget", "1", "--concurrency", "many"), "--concurrency"),
        (("--budget", "1", "--cache-order", "loose"), "--cache-order"),
    ],
)
def test_wrong_usage_names_its_option(tracelake: Run, arguments: tuple[str, ...], expected: str) -> None:
    output = tracelake("replay", *arguments)
    assert output.code == 2
    assert expected in output.err


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--budget", "five"), "BadInputError"),
        (("--budget", "1", "--traces", "nonsense = 1"), "QueryError"),
    ],
)
def test_bad_input_is_an_error_with_its_class(tracelake: Run, arguments: tuple[str, ...], error: str) -> None:
    output = tracelake("replay", *arguments, "--format", "json")
    assert output.code == 1
    assert output.data["error"]["class"] == error


def test_traces_names_arms_and_concurrency_are_taken(
    tracelake: Run, server: PricedServer, lake: Lake
) -> None:
    output = tracelake(
        "replay",
        *("--traces", "rollout_id = 'trace-1'", "--name", "second", "--arm", "B"),
        *("--budget", "1", "--concurrency", "1", "--cache-order", "strict", "--format", "json"),
    )
    assert (output.data["replay"], output.data["answered_count"]) == ("second", 3)
    assert server.at_once_max == 1
    lake.project()
    reserved = lake.scan("teacher_call_reserved").collect()
    assert (set(reserved["arm"]), set(reserved["replay_id"])) == ({"B"}, {"second"})


def test_tiers_are_asked_one_after_the_other(tracelake: Run, server: PricedServer, tmp_path: Path) -> None:
    write(
        tmp_path,
        server,
        *(
            TEACHER.format(name=name, url=server.base_url, tier=tier, price=PAID)
            for name, tier in (("a", 0), ("b", 0), ("dear", 1))
        ),
    )
    output = tracelake("replay", "--tiered", "--budget", "1")
    assert output.code == 0
    assert "tier 1: asked at 6 of 6 states, 0 calls" in output.out


def test_a_probe_reports_capabilities_and_lands_its_cost(
    tracelake: Run, server: PricedServer, lake: Lake
) -> None:
    output = tracelake("teachers", "probe", "--format", "json")
    assert output.code == 0
    assert output.data["one"]["streams"] is True
    assert output.data["one"]["states_cost"] is True
    lake.project()
    [settlement] = lake.scan("teacher_call_settled").collect().to_dicts()
    assert settlement["cost_microusd"] >= server.counts().charged_microusd > 0
    assert lake.scan("teacher_call_reserved").collect()["replay_id"].to_list() == ["probe"]
    poor = tracelake("teachers", "probe", "--budget", "0.000001")
    assert poor.code == 4
    assert tracelake("teachers", "probe", "--name", "nobody").code == 2
