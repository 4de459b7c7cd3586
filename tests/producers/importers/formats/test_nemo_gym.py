"""NeMo Gym: lines of a request, a response and a reward."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.producers.importers.samples import as_lines, of_kind, read_bytes, rollout
from tests.producers.importers.samples_nemo import (
    call_item,
    nemo_line,
    reasoning_item,
    response,
    result_item,
    text_item,
)
from tracelake.producers.importers.importer import ImportedRollout, Refusal


def with_output(*output: dict[str, Any], **keys: Any) -> ImportedRollout:
    return rollout(nemo_line(response=response(list(output)), **keys))


def test_items_of_the_request_are_context_and_those_of_the_response_turns():
    piece = rollout(nemo_line())
    first, second = of_kind(piece, "turn_completed")
    assert [message["role"] for message in json.loads(first.new_messages_json)] == [
        "system", "system", "user", "assistant", "tool",
    ]  # fmt: skip
    action = json.loads(first.action_json)
    assert (action["content"], action["reasoning_content"]) == (None, "First look.")
    assert action["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"at": "x"}'}
    assert json.loads(second.new_messages_json) == [
        {"role": "tool", "content": "a door", "tool_call_id": "c1"}
    ]
    (result,) = of_kind(piece, "tool_returned")
    assert (result.tool_name, result.visible_output) == ("look", "a door")


def test_token_ids_are_those_of_the_completion_that_they_end():
    first, second = of_kind(rollout(nemo_line()), "turn_completed")
    assert first.completion_ids is None
    assert (second.new_prompt_ids, second.completion_ids) == ([1, 2], [3, 4])
    assert (second.sampling_logprobs, second.logprob_source) == ([-0.5, -0.25], "sampler")


def test_two_completions_in_a_row_are_two_turns_if_their_token_ids_differ():
    ids = {"prompt_token_ids": [1], "generation_token_ids": [2], "generation_log_probs": [-0.5]}
    assert with_output(text_item("a", **ids), text_item("b", **ids)).turn_count == 2
    assert with_output(text_item("a"), text_item("b")).turn_count == 1


def test_the_task_is_named_as_in_other_formats_and_the_rest_is_the_verifiers_output():
    piece = rollout(nemo_line())
    started = of_kind(piece, "rollout_started")[0]
    assert (started.task_key, started.environment, started.trial_index) == ("astropy__astropy-1", "looker", 1)
    assert json.loads(started.sampling_json) == {"temperature": 0.7, "parallel_tool_calls": True}
    assert json.loads(started.tools_json)[0]["function"]["name"] == "look"
    (reward,) = of_kind(piece, "reward_assigned")
    assert reward.score == 1.0
    assert json.loads(reward.details_json)["judge_evaluations"] == [{"text": "good", "passed": True}]
    assert of_kind(piece, "rollout_ended")[0].submission.startswith("diff --git")


def test_usage_belongs_to_a_single_turn_or_to_the_whole():
    single = of_kind(with_output(text_item("a")), "turn_completed")[0]
    counts = (single.prompt_token_count, single.cached_token_count, single.completion_token_count)
    assert counts == (40, 8, 5)
    piece = rollout(nemo_line())
    assert of_kind(piece, "turn_completed")[0].prompt_token_count is None
    assert json.loads(of_kind(piece, "rollout_ended")[0].metrics_json)["usage"]["input_tokens"] == 40


def test_no_tokens_next_to_output_is_unknown():
    nothing = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    piece = rollout(nemo_line(response=response([text_item("a")], usage=nothing)))
    turn = of_kind(piece, "turn_completed")[0]
    assert (turn.prompt_token_count, turn.completion_token_count) == (None, None)


@pytest.mark.parametrize("usage", [None, {"input_tokens": 1, "output_tokens": 1}])
def test_a_rollout_without_a_response_has_no_turns_and_ended_in_error(usage: Any):
    for missing in (None, response([], usage=usage)):
        piece = rollout(nemo_line(response=missing, reward=None, model_patch=None))
        ended = of_kind(piece, "rollout_ended")[0]
        assert (piece.turn_count, ended.stop_reason) == (0, "error")
        assert [reward.score for reward in of_kind(piece, "reward_assigned")] == [None]


@pytest.mark.parametrize(
    ("keys", "ending"),
    [
        ({}, ("completed", False)),
        ({"agent_timed_out": True}, ("timeout", True)),
        ({"context_length_exceeded_error": 1}, ("max_tokens", True)),
        ({"error": "judge failed"}, ("error", None)),
        ({"truncated": True}, ("max_turns", True)),
    ],
)
def test_flags_of_the_harness_give_the_ending(keys: dict[str, Any], ending: tuple[str, bool | None]):
    ended = of_kind(rollout(nemo_line(**keys)), "rollout_ended")[0]
    assert (ended.stop_reason, ended.truncated) == ending


def test_an_incomplete_response_was_cut_off():
    cut = response([text_item("a")], status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    ended = of_kind(rollout(nemo_line(response=cut)), "rollout_ended")[0]
    assert (ended.stop_reason, ended.truncated_by, ended.exit_status) == (
        "max_tokens", "max_tokens", "max_output_tokens",
    )  # fmt: skip


def test_reasoning_after_a_call_belongs_to_the_same_turn():
    piece = with_output(call_item(), reasoning_item("Why not."), result_item(), text_item("Done."))
    first = json.loads(of_kind(piece, "turn_completed")[0].action_json)
    assert (first["reasoning_content"], piece.turn_count) == ("Why not.", 2)


def test_encrypted_reasoning_and_unknown_items_stay():
    search = {"type": "web_search_call", "id": "ws-1", "status": "completed", "action": {"query": "boats"}}
    piece = with_output(reasoning_item("", encrypted_content="gAAAA"), search, text_item("Found."))
    turn = of_kind(piece, "turn_completed")[0]
    assert json.loads(turn.action_json)["reasoning_details"][0]["encrypted_content"] == "gAAAA"
    assert json.loads(turn.extra_json)["items"]["1"]["action"] == {"query": "boats"}


def test_tools_that_are_no_functions_have_calls_and_results():
    patch = {"type": "apply_patch_call", "call_id": "p1", "operation": {"path": "x"}}
    done = {"type": "apply_patch_call_output", "call_id": "p1", "output": "ok"}
    piece = with_output(patch, done)
    call = json.loads(of_kind(piece, "turn_completed")[0].action_json)["tool_calls"][0]["function"]
    assert call == {"name": "apply_patch", "arguments": '{"path":"x"}'}
    assert of_kind(piece, "tool_returned")[0].tool_name == "apply_patch"


def test_a_file_of_tasks_is_refused_with_a_reason():
    task = nemo_line()
    for key in ("response", "reward"):
        del task[key]
    (refusal,) = read_bytes(as_lines([task, task]), "data/rollouts_materialized_inputs.jsonl")
    assert isinstance(refusal, Refusal)
    assert "no rollouts" in refusal.reason


def test_a_bad_line_costs_itself():
    lines = [nemo_line(), {**nemo_line(), "reward": "high"}, {**nemo_line(), "response": 3}, {}]
    pieces = read_bytes(as_lines(lines), "data/rollouts.jsonl")
    assert [type(piece) for piece in pieces] == [ImportedRollout, Refusal, Refusal, Refusal]
