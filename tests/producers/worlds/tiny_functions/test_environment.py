"""Goal: tools answer briefly and correctly, and the environment survives every call.

Method: real tasks in a real sandbox.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelake.producers.worlds.tiny_functions.environment import TOOLS, RepairEnvironment
from tracelake.producers.worlds.tiny_functions.sandbox import Sandbox
from tracelake.producers.worlds.tiny_functions.tasks import Task, all_tasks, generate_tasks
from tracelake.schemas.environment import Environment
from tracelake.schemas.errors import BadInputError


@pytest.fixture(scope="module")
def environment() -> Iterator[RepairEnvironment]:
    with Sandbox() as sandbox:
        yield RepairEnvironment(sandbox)


def clamp_task() -> Task:
    return next(
        task
        for task in all_tasks()
        if task.family == "clamp" and task.source.endswith("return max(x, hi)") and "clamp" in task.source
    )


def edit(line: int, text: str) -> str:
    return json.dumps({"line": line, "text": text})


def solve(environment: RepairEnvironment, task: Task) -> None:
    environment.call("edit_line", edit(task.solution_line, task.solution_text))


def test_it_implements_the_environment_protocol(environment: RepairEnvironment) -> None:
    as_protocol: Environment = environment
    assert [tool["function"]["name"] for tool in as_protocol.tools] == ["run_tests", "edit_line", "submit"]
    assert all(tool["type"] == "function" for tool in TOOLS)


def test_a_task_opens_with_its_issue_and_its_source(environment: RepairEnvironment) -> None:
    (message,) = environment.reset(clamp_task())
    assert message["role"] == "user"
    assert message["content"].split("\n")[1:] == [
        "1\tdef clamp(x, lo, hi):",
        "2\t    if x < lo:",
        "3\t        return lo",
        "4\t    return max(x, hi)",
    ]


def test_visible_output_has_the_first_failure_and_raw_output_has_all(
    environment: RepairEnvironment,
) -> None:
    environment.reset(clamp_task())
    outcome = environment.call("run_tests", "{}")
    assert outcome.visible_output == (
        "FAILED test_2: clamp(3, 0, 5) returned 5, expected 3\n2 failed, 1 passed"
    )
    assert outcome.raw_output.split("\n") == [
        "PASSED test_1: clamp(-2, 0, 5) returned 0",
        "FAILED test_2: clamp(3, 0, 5) returned 5, expected 3",
        "FAILED test_3: clamp(9, 0, 5) returned 9, expected 5",
        "2 failed, 1 passed",
    ]
    assert (outcome.error, outcome.done) == (None, False)
    assert outcome.duration_ms > 0


def test_the_right_edit_passes_all_tests_and_earns_the_reward(environment: RepairEnvironment) -> None:
    task = clamp_task()
    environment.reset(task)
    assert environment.rewards() == {"reward": 0.0, "fraction_passed": pytest.approx(1 / 3)}
    solve(environment, task)
    assert environment.call("run_tests", "{}").visible_output == "3 passed"
    assert environment.call("submit", "{}").done
    assert environment.rewards() == {"reward": 1.0, "fraction_passed": 1.0}


def test_a_source_that_does_not_run_is_an_error_and_earns_nothing(environment: RepairEnvironment) -> None:
    environment.reset(clamp_task())
    environment.call("edit_line", edit(2, "    if x <"))
    outcome = environment.call("run_tests", "{}")
    assert (outcome.visible_output, outcome.error) == ("ERROR syntax_error: line 2", "syntax_error")
    assert environment.rewards() == {"reward": 0.0, "fraction_passed": 0.0}


def test_an_exception_in_a_test_is_a_failure(environment: RepairEnvironment) -> None:
    environment.reset(clamp_task())
    environment.call("edit_line", edit(2, "    if x < low:"))
    outcome = environment.call("run_tests", "{}")
    assert outcome.visible_output.startswith("FAILED test_1: clamp(-2, 0, 5) raised NameError")
    assert outcome.error is None


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("rm_rf", "{}", "unknown_tool"),
        ("", "{}", "unknown_tool"),
        ("run_tests", "", "bad_arguments"),
        ("run_tests", "{", "bad_arguments"),
        ("run_tests", "[]", "bad_arguments"),
        ("run_tests", '{"fast": true}', "bad_arguments"),
        ("edit_line", '{"line": 2}', "bad_arguments"),
        ("edit_line", '{"line": "2", "text": "x"}', "bad_arguments"),
        ("edit_line", '{"line": true, "text": "x"}', "bad_arguments"),
        ("edit_line", '{"line": 2, "text": "x\\ny"}', "bad_arguments"),
        ("edit_line", '{"line": 2, "text": "\\ud800"}', "bad_arguments"),
        ("edit_line", '{"line": 2, "text": "' + "x" * 300 + '"}', "bad_arguments"),
        ("edit_line", '{"line": 0, "text": "x"}', "no_such_line"),
        ("edit_line", '{"line": 99, "text": "x"}', "no_such_line"),
        ("run_tests", "[" * 100_000, "bad_arguments"),
    ],
)
def test_an_invalid_call_is_an_error_and_changes_nothing(
    environment: RepairEnvironment, name: str, arguments: str, error: str
) -> None:
    environment.reset(clamp_task())
    outcome = environment.call(name, arguments)
    assert (outcome.error, outcome.done) == (error, False)
    assert outcome.visible_output.startswith(f"ERROR {error}")
    assert environment.source == clamp_task().source


def test_nothing_happens_after_submit(environment: RepairEnvironment) -> None:
    environment.reset(clamp_task())
    environment.call("submit", "{}")
    outcome = environment.call("edit_line", edit(2, "    if x > lo:"))
    assert (outcome.error, outcome.done) == ("already_done", True)
    assert environment.source == clamp_task().source


def test_a_reset_forgets_the_task_before(environment: RepairEnvironment) -> None:
    first, second = generate_tasks(5, 2, "train")
    environment.reset(first)
    solve(environment, first)
    environment.call("submit", "{}")
    environment.reset(second)
    assert environment.source == second.source
    assert not environment.call("run_tests", "{}").done


def test_rewards_need_a_task() -> None:
    with pytest.raises(BadInputError, match="reset"):
        RepairEnvironment(Sandbox()).rewards()


@given(name=st.sampled_from(["run_tests", "edit_line", "submit"]) | st.text(max_size=8), arguments=st.text())
def test_no_call_raises(environment: RepairEnvironment, name: str, arguments: str) -> None:
    environment.reset(clamp_task())
    outcome = environment.call(name, arguments)
    assert len(outcome.visible_output) < 400


@given(line=st.integers(-3, 9), text=st.text(max_size=40))
def test_no_edit_breaks_the_environment(environment: RepairEnvironment, line: int, text: str) -> None:
    environment.reset(clamp_task())
    environment.call("edit_line", edit(line, text))
    assert set(environment.rewards()) == {"reward", "fraction_passed"}
