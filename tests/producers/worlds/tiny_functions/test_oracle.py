"""Goal: the oracle understands any context and leads to the solution.

Method: play it, with and without mistakes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tracelake.consumers.rollouts.play import play_rollouts
from tracelake.producers.worlds.tiny_functions.environment import RepairEnvironment, opening_messages
from tracelake.producers.worlds.tiny_functions.oracle import (
    ErrorRates,
    OraclePolicy,
    RepairState,
    action_message,
    best_call,
    edit_call,
    next_call,
    repair_state,
    wrong_edits,
)
from tracelake.producers.worlds.tiny_functions.sandbox import Sandbox
from tracelake.producers.worlds.tiny_functions.tasks import Edit, edited, generate_tasks
from tracelake.schemas.environment import RolloutRecord
from tracelake.schemas.message import Message

TASKS = generate_tasks(1, 200, "held_out")


@pytest.fixture(scope="module")
def environments() -> Iterator[list[RepairEnvironment]]:
    with Sandbox() as sandbox:
        yield [RepairEnvironment(sandbox) for _ in TASKS]


def play(environments: list[RepairEnvironment], error_rates: ErrorRates) -> list[RolloutRecord]:
    return play_rollouts(OraclePolicy(error_rates), environments, TASKS, turn_limit=6, seed=0)


def test_the_oracle_solves_every_task_by_edit_test_submit(environments: list[RepairEnvironment]) -> None:
    for record in play(environments, ErrorRates()):
        assert record.rewards["reward"] == 1.0
        assert record.stop_reason == "completed"
        assert [call.name for turn in record.turns for call in turn.tool_calls] == [
            "edit_line",
            "run_tests",
            "submit",
        ]


def test_mistakes_lower_its_rewards(environments: list[RepairEnvironment]) -> None:
    records = play(environments, ErrorRates(wrong_edit=0.6, give_up=0.6))
    solved = sum(record.rewards["reward"] for record in records) / len(records)
    assert 0.35 < solved < 0.7


def test_an_oracle_that_always_errs_never_solves_at_once(environments: list[RepairEnvironment]) -> None:
    records = play(environments, ErrorRates(wrong_edit=1.0, give_up=1.0))
    assert all(record.rewards["reward"] == 0.0 for record in records)


def test_a_state_is_derived_from_the_messages(environments: list[RepairEnvironment]) -> None:
    task, environment = TASKS[0], environments[0]
    context: list[Message] = environment.reset(task)
    assert repair_state(context) == RepairState(task, task.source, "unknown")
    for call, status in [
        (edit_call(task.wrong_edits[0]), "edited"),
        (best_call(RepairState(task, "", "edited")), "failed"),
    ]:
        message = action_message(call, "call_1")
        function = message["tool_calls"][0]["function"]
        outcome = environment.call(function["name"], function["arguments"])
        context += [
            message,
            {"role": "tool", "tool_call_id": "call_1", "content": outcome.visible_output},
        ]
        state = repair_state(context)
        assert state is not None
        assert (state.source, state.test_status) == (environment.source, status)


def test_a_refused_edit_does_not_change_the_state() -> None:
    context = [
        *opening_messages(TASKS[0]),
        action_message(edit_call(Edit(99, "x")), "a"),
        {"role": "tool", "tool_call_id": "a", "content": "ERROR no_such_line: 1 to 2"},
    ]
    assert repair_state(context) == RepairState(TASKS[0], TASKS[0].source, "unknown")


@pytest.mark.parametrize("arguments", ["{", "[]", '{"line": "x"}', '{"line": 77, "text": ""}'])
def test_invalid_recorded_arguments_do_not_change_the_state(arguments: str) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "edit_line", "arguments": arguments}}
    context = [
        *opening_messages(TASKS[0]),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "ok"},
    ]
    assert repair_state(context) == RepairState(TASKS[0], TASKS[0].source, "unknown")


def test_another_worlds_context_has_no_state() -> None:
    assert repair_state([{"role": "user", "content": "hello"}]) is None


def test_the_oracle_recovers_from_several_wrong_edits(environments: list[RepairEnvironment]) -> None:
    for task in TASKS:
        state = RepairState(task, task.source, "failed")
        rng = random.Random(task.task_id)
        for _ in range(3):
            state = state._replace(source=edited(state.source, rng.choice(wrong_edits(state))))
        for _ in range(4):
            call = best_call(state)
            if call.name == "submit":
                break
            edit = Edit(call.arguments["line"], call.arguments["text"])
            state = state._replace(source=edited(state.source, edit))
        assert state.source == task.solved_source


def test_a_wrong_edit_always_changes_the_source_and_never_repairs_it() -> None:
    for task in TASKS:
        state = RepairState(task, task.source, "failed")
        for edit in wrong_edits(state):
            after = edited(state.source, edit)
            assert after not in (state.source, task.solved_source)


def test_only_edits_can_be_wrong() -> None:
    always = ErrorRates(wrong_edit=1.0, give_up=1.0)
    rng = random.Random(0)
    task = TASKS[0]
    assert next_call(RepairState(task, task.source, "edited"), always, rng).name == "run_tests"
    assert next_call(RepairState(task, task.solved_source, "passed"), always, rng).name == "submit"


def test_the_same_seed_gives_the_same_action() -> None:
    policy = OraclePolicy(ErrorRates(wrong_edit=0.5))
    context = opening_messages(TASKS[0])
    first, second = (policy.act([context] * 20, (), seeds=range(20)) for _ in range(2))
    assert first == second
    assert len({action.message["tool_calls"][0]["function"]["arguments"] for action in first}) > 1
