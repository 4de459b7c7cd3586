"""Goal: conflicts and retractions from the command line: listed, decided, and said wherever they matter."""

from __future__ import annotations

import pytest

from tests.cli.in_process import Run, commands_on
from tests.lake.curation.curated_lake import ROLLOUT, id_of, land, version
from tests.traces import STUDENT, lake_of_rollouts
from tracelake.lake import Lake

FILE = "/data/run2/[b].json"


@pytest.fixture
def lake(tmp_path) -> Lake:
    return lake_of_rollouts(str(tmp_path / "lake"))


@pytest.fixture
def tracelake(lake: Lake, capfd: pytest.CaptureFixture[str]) -> Run:
    return commands_on(lake.uri, capfd)


@pytest.fixture
def in_conflict(lake: Lake) -> Lake:
    land(lake, version("something else"), FILE)
    return lake


def test_a_lake_without_conflicts_lists_none(tracelake: Run) -> None:
    assert tracelake("conflicts", "--format", "json").data == []
    assert "open conflicts: 0" in tracelake("conflicts").out


def test_conflicts_are_listed_for_people_with_the_file_and_the_cure(
    tracelake: Run, in_conflict: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = tracelake("conflicts")
    assert answer.code == 0
    assert FILE in answer.out
    assert "turn_index 0" in answer.out
    assert f"tracelake conflicts resolve {ROLLOUT} --use" in answer.err


def test_a_conflict_is_resolved_and_then_listed_only_with_all(tracelake: Run, in_conflict: Lake) -> None:
    [conflict] = tracelake("conflicts", "--format", "json").data
    answer = tracelake(
        "conflicts", "resolve", ROLLOUT, "--file", "[b].json", "--reason", "whole", "--format", "json"
    )
    assert answer.data[0]["chosen_event_id"] == id_of("something else")
    assert tracelake("conflicts", "--format", "json").data == []
    [resolved] = tracelake("conflicts", "--all", "--format", "json").data
    assert (resolved["conflict_id"], resolved["state"]) == (conflict["conflict_id"], "resolved")
    assert "counts" in tracelake("conflicts", "resolve", ROLLOUT, "--use", "first", "--reason", "x").out


def test_a_lake_named_before_the_subcommand_is_refused(
    in_conflict: Lake, capfd: pytest.CaptureFixture[str]
) -> None:
    run = commands_on("elsewhere", capfd)
    answer = run(
        "conflicts", "--lake", in_conflict.uri, "resolve", ROLLOUT, "--use", "first", "--reason", "x"
    )
    assert answer.code == 2
    assert "write it after resolve" in answer.err.replace("\n", " ")


def test_build_says_which_rollouts_it_left_out_and_why(tracelake: Run, in_conflict: Lake) -> None:
    in_conflict.retract("teacher-b/q1", reason="wrong sandbox")
    answer = tracelake("build", "--student", STUDENT)
    assert "Left out 2 rollouts: 1 with open conflicts" in answer.out
    assert f"{ROLLOUT}: conflict: open conflicts: 1 of turn_completed" in answer.out
    assert "teacher-b/q1: retracted: wrong sandbox" in answer.out
    left_out = tracelake("build", "--student", STUDENT, "--format", "json").data["left_out"]
    assert left_out["counts"] == {"conflict": 1, "decision": 0, "retracted": 1}
    assert [each["rollout_id"] for each in left_out["rollouts"]] == [ROLLOUT, "teacher-b/q1"]


def test_a_build_that_leaves_nothing_out_says_nothing(tracelake: Run) -> None:
    assert "Left out" not in tracelake("build").out


def test_pins_say_how_many_of_their_rollouts_have_been_retracted_since(tracelake: Run) -> None:
    tracelake("build", "--student", STUDENT)
    tracelake("pin", "p")
    done = tracelake("retract", "teacher-a/q1", "--reason", "wrong sandbox", "--format", "json").data
    assert (done["rollout_ids"], done["pins"]) == (["teacher-a/q1"], {"p@1": 1})
    for arguments in (("pins",), ("pins", "--check", "p@1")):
        answer = tracelake(*arguments)
        assert (answer.code, "p@1: 1 rollout of it has been retracted since" in answer.out) == (0, True)
        [pin] = tracelake(*arguments, "--format", "json").data
        assert pin["retracted_rollouts"] == ["teacher-a/q1"]
    tracelake("build", "--student", STUDENT)
    assert tracelake("pin", "p", "--format", "json").data["retracted_rollouts"] == []
    assert [pin["retracted_rollouts"] for pin in tracelake("pins", "--format", "json").data] == [
        ["teacher-a/q1"],
        [],
    ]


def test_a_retraction_is_taken_back_and_unknown_names_are_refused(tracelake: Run) -> None:
    assert "Retracted 1 rollout" in tracelake("retract", ROLLOUT, "--reason", "x").out
    assert "back" in tracelake("retract", ROLLOUT, "--undo", "--reason", "y").out
    answer = tracelake("retract", "teacher-z/q1", "--reason", "x")
    assert answer.code == 1
    assert "perhaps teacher-" in answer.err
    assert tracelake("retract", ROLLOUT).code == 2
