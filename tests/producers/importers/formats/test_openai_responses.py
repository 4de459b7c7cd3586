"""Responses: output of batches, bare responses, logs of requests with responses."""

from __future__ import annotations

import json
from typing import Any

from tests.producers.importers.samples import as_lines, of_kind, read_bytes
from tests.producers.importers.samples_nemo import call_item, response, result_item, text_item
from tests.producers.importers.samples_responses import (
    anthropic_lines,
    bare_responses,
    batch_lines,
    logged_calls,
)
from tracelake.producers.importers.importer import ImportedRollout, Refusal


def read_lines(lines: list[Any]) -> list[ImportedRollout]:
    pieces = read_bytes(as_lines(lines), "out/batch_output.jsonl")
    assert all(isinstance(piece, ImportedRollout) for piece in pieces), pieces
    return pieces  # type: ignore[return-value]


def test_an_answer_of_a_batch_is_a_rollout_whose_context_is_unknown():
    answered, _ = read_lines(batch_lines())
    (turn,) = of_kind(answered, "turn_completed")
    assert json.loads(turn.new_messages_json) == [{"role": "missing", "content": "question-1"}]
    action = json.loads(turn.action_json)
    assert (action["content"], action["reasoning_content"]) == ("Yes.", "Hm.")
    assert action["reasoning_details"][0]["encrypted_content"] == "gAAAA"
    assert (turn.response_id, turn.prompt_token_count) == ("resp_b1", 40)
    assert of_kind(answered, "rollout_ended")[0].stop_reason == "completed"
    assert any("context is unknown" in note for note in answered.losses.notes)


def test_a_request_that_failed_is_a_rollout_without_turns():
    for lines, error in ((batch_lines(), "too long"), (anthropic_lines(), "expired")):
        failed = read_lines(lines)[1]
        ended = of_kind(failed, "rollout_ended")[0]
        assert (failed.turn_count, ended.stop_reason) == (0, "error")
        assert error in ended.error


def test_the_body_of_a_batch_may_be_a_chat_completion():
    message = {"role": "assistant", "content": "Yes."}
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "gpt-5",
        "choices": [{"message": message}],
    }
    line = {"custom_id": "q", "response": {"status_code": 200, "body": body}, "error": None}
    (turn,) = of_kind(read_lines([line])[0], "turn_completed")
    assert (json.loads(turn.action_json)["content"], turn.response_id) == ("Yes.", "chatcmpl-1")


def test_an_answer_of_anthropics_batch_has_the_shape_of_the_others():
    (turn,) = of_kind(read_lines(anthropic_lines())[0], "turn_completed")
    action = json.loads(turn.action_json)
    assert action["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"at":"x"}'}
    assert action["thinking_blocks"][0]["signature"] == "sig"
    assert (turn.prompt_token_count, turn.cached_token_count, turn.completion_token_count) == (40, 30, 5)
    assert (turn.finish_reason, turn.model_served) == ("tool_use", "claude-sonnet-4")


def test_calls_that_name_each_other_are_one_rollout():
    (piece,) = read_lines(logged_calls())
    first, second = of_kind(piece, "turn_completed")
    assert [message["role"] for message in json.loads(first.new_messages_json)] == ["system", "user"]
    assert (second.parent_turn_index, second.context_length) == (0, 4)
    (result,) = of_kind(piece, "tool_returned")
    assert (result.tool_name, result.turn_index, result.visible_output) == ("look", 0, "a door")
    started = of_kind(piece, "rollout_started")[0]
    assert (started.model_requested, json.loads(started.sampling_json)) == ("gpt-5", {"temperature": 1})


def test_calls_that_repeat_earlier_items_are_one_rollout():
    whole = [{"role": "user", "content": "Look!"}, call_item(), result_item("c1", "a door")]
    lines = [
        {"request": {"input": whole[:1]}, "response": response([call_item()], id="r1")},
        {"request": {"input": whole}, "response": response([text_item("A door.")], id="r2")},
    ]
    (piece,) = read_lines(lines)
    assert [turn.parent_turn_index for turn in of_kind(piece, "turn_completed")] == [None, 0]
    assert piece.tool_result_count == 1


def test_a_longer_log_has_the_same_rollout():
    (longer,) = read_lines(logged_calls())
    (shorter,) = read_lines(logged_calls()[:1])
    assert shorter.rollout_id == longer.rollout_id
    assert of_kind(shorter, "rollout_started") == of_kind(longer, "rollout_started")
    assert of_kind(shorter, "turn_completed")[0] == of_kind(longer, "turn_completed")[0]


def test_responses_without_requests_stand_alone():
    one, two = read_lines(bare_responses())
    states = {of_kind(piece, "turn_completed")[0].state_key for piece in (one, two)}
    assert len(states) == 2


def test_an_incomplete_response_was_cut_off():
    cut = response([text_item("a")], status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    ended = of_kind(read_lines([cut])[0], "rollout_ended")[0]
    assert (ended.stop_reason, ended.truncated_by) == ("max_tokens", "max_tokens")


def test_a_bad_line_costs_itself():
    lines = [
        *batch_lines(),
        {"custom_id": "x", "response": {"status_code": 200, "body": {}}, "error": None},
        {},
    ]
    pieces = read_bytes(as_lines(lines), "out/batch_output.jsonl")
    assert [type(piece) for piece in pieces] == [ImportedRollout, ImportedRollout, ImportedRollout, Refusal]


def test_calls_that_branch_continue_what_they_saw():
    again = {**logged_calls()[1], "response": response([text_item("A window.")], id="resp_3")}
    (piece,) = read_lines([*logged_calls(), again])
    assert [turn.parent_turn_index for turn in of_kind(piece, "turn_completed")] == [None, 0, 0]


def test_instructions_are_those_of_the_call_alone():
    lines = logged_calls()
    del lines[1]["request"]["instructions"]
    (piece,) = read_lines(lines)
    second = of_kind(piece, "turn_completed")[1]
    assert (second.parent_turn_index, second.context_length) == (None, 3)
