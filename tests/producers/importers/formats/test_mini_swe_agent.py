"""mini-swe-agent: what a trajectory file becomes."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from tests.producers.importers.samples import (
    INSTANCE,
    bash_call,
    completion,
    mini,
    mini_reply,
    mini_result,
    mini_text,
    of_kind,
    rollout,
)


def test_a_turn_has_the_fields_of_its_response():
    turn = of_kind(rollout(mini()), "turn_completed")[0]
    assert (turn.model_requested, turn.model_served) == ("deepseek/deepseek-chat", "deepseek-chat")
    assert (turn.response_id, turn.system_fingerprint) == ("chat-call-1", "fp_1")
    assert (turn.finish_reason, turn.truncated, turn.truncated_by) == ("tool_calls", False, None)
    assert (turn.prompt_token_count, turn.cached_token_count) == (120, 64)
    assert (turn.completion_token_count, turn.reasoning_token_count) == (7, 3)
    assert turn.cost_usd == 0.0005
    assert turn.occurred_at == datetime.fromtimestamp(1775784986.5, UTC)


def test_fields_that_the_source_does_not_state_are_null():
    turn = of_kind(rollout(mini()), "turn_completed")[0]
    assert turn.latency_ms is None
    assert turn.completion_ids is None
    assert turn.sampling_logprobs is None
    assert turn.logprob_source is None
    assert of_kind(rollout(mini()), "rollout_started")[0].tools_json is None
    assert of_kind(rollout(mini()), "rollout_ended")[0].duration_ms is None


def test_a_turn_stores_the_messages_since_its_parents_action():
    first, second = of_kind(rollout(mini()), "turn_completed")
    assert [message["role"] for message in json.loads(first.new_messages_json)] == ["system", "user"]
    (result,) = json.loads(second.new_messages_json)
    assert result == {
        "role": "tool",
        "tool_call_id": "call-1",
        "content": "<returncode>0</returncode>\n<output>\nsetup.py\n</output>",
    }
    assert (first.parent_turn_index, second.parent_turn_index) == (None, 0)
    assert (first.context_length, second.context_length) == (2, 4)


def test_the_action_is_the_message_without_provider_fields():
    turn = of_kind(rollout(mini()), "turn_completed")[0]
    assert json.loads(turn.action_json) == {
        "role": "assistant",
        "content": "running ls",
        "tool_calls": [
            {
                "id": "call-1",
                "type": "function",
                "function": {"name": "bash", "arguments": '{"command": "ls"}'},
            }
        ],
    }
    assert turn.tool_call_count == 1


def test_raw_and_visible_output_are_separate_fields():
    (result,) = of_kind(rollout(mini()), "tool_returned")
    assert (result.turn_index, result.call_index, result.tool_call_id) == (0, 0, "call-1")
    assert result.tool_name == "bash"
    assert result.raw_output == "setup.py\n"
    assert result.visible_output.startswith("<returncode>0")
    assert (result.visible_truncated, result.return_code, result.error) == (False, 0, None)


def test_an_elided_output_is_marked_as_truncated():
    document = mini()
    long = "a" * 6000 + "b" * 6000
    shown = f"<output_head>{long[:5000]}</output_head> elided <output_tail>{long[-5000:]}</output_tail>"
    document["messages"][3] = mini_result("call-1", long, shown)
    (result,) = of_kind(rollout(document), "tool_returned")
    assert result.visible_truncated is True
    assert result.raw_output == long


def test_a_result_is_the_same_fact_before_and_after_a_call_saw_it():
    early = mini()
    early["messages"] = early["messages"][:4]
    results = [of_kind(rollout(document), "tool_returned")[0] for document in (early, mini())]
    assert results[0] == results[1]
    assert results[0].visible_output.startswith("<returncode>0")


def test_each_parallel_call_has_its_result():
    document = mini()
    document["messages"][2]["tool_calls"].append(bash_call("call-1b", "pwd"))
    document["messages"].insert(4, mini_result("call-1b", "/testbed\n", code=-1))
    results = of_kind(rollout(document), "tool_returned")
    assert [(result.call_index, result.tool_call_id) for result in results] == [(0, "call-1"), (1, "call-1b")]
    assert results[1].return_code == -1


def test_a_reply_that_was_dropped_for_its_format_is_a_turn_without_a_child():
    document = mini()
    dropped = completion("chat-bad", "length", {"role": "assistant", "content": "no call"})
    complaint = {"role": "user", "content": "Use the tool.", "extra": {"response": dropped}}
    document["messages"].insert(4, complaint)
    piece = rollout(document)
    turns = of_kind(piece, "turn_completed")
    assert (piece.turn_count, piece.other_turn_count) == (2, 1)
    assert [turn.parent_turn_index for turn in turns] == [None, 0, 0]
    assert (turns[1].finish_reason, turns[1].truncated_by) == ("parse_error", "max_tokens")
    assert [message["role"] for message in json.loads(turns[2].new_messages_json)] == ["tool", "user"]


def test_secrets_of_the_model_arguments_are_dropped():
    started = of_kind(rollout(mini()), "rollout_started")[0]
    assert "sk-very-secret" not in started.config_json + started.sampling_json
    assert json.loads(started.sampling_json) == {"temperature": 0.0, "max_tokens": 9}


def test_the_first_call_identifies_the_rollout_and_not_the_path():
    here, there = rollout(mini(), "a/b/c.json"), rollout(mini(), "elsewhere/d.json")
    assert here.events == there.events
    other = mini()
    other["messages"][2]["extra"]["response"]["id"] = "another"
    assert rollout(other).rollout_id != here.rollout_id
    assert here.rollout_id.startswith(f"mini-{INSTANCE}-")


def test_a_changed_submission_keeps_the_identity():
    changed = mini()
    changed["info"]["submission"] = "another"
    assert rollout(changed).rollout_id == rollout(mini()).rollout_id


@pytest.mark.parametrize(
    ("status", "stats", "expected"),
    [
        ("Submitted", {}, ("completed", False, None)),
        ("LimitsExceeded", {"api_calls": 250}, ("max_turns", True, "max_turns")),
        ("LimitsExceeded", {"instance_cost": 3.1}, ("max_cost", True, "max_cost")),
        ("LimitsExceeded", {}, ("unknown", True, None)),
        ("RepeatedFormatError", {}, ("parse_error", None, None)),
        ("ContextWindowExceededError", {}, ("max_tokens", True, "context_window")),
        ("RateLimitError", {}, ("error", None, None)),
        ("SomethingNew", {}, ("unknown", None, None)),
    ],
)
def test_an_exit_status_is_mapped_to_a_stop_reason(status: str, stats: dict, expected: tuple):
    document = mini()
    document["info"]["exit_status"] = status
    document["info"]["model_stats"] = {"instance_cost": 0.001, "api_calls": 2, **stats}
    ended = of_kind(rollout(document), "rollout_ended")[0]
    assert (ended.stop_reason, ended.truncated, ended.truncated_by) == expected
    assert ended.exit_status == status


def test_the_end_has_the_submission_and_the_stated_cost():
    ended = of_kind(rollout(mini()), "rollout_ended")[0]
    assert ended.submission == "diff --git a/x b/x\n+fixed \n"
    assert (ended.cost_usd, ended.turn_count) == (0.001, 2)


def test_token_ids_and_logprobs_are_imported_if_the_server_returned_them():
    document = mini()
    choice = document["messages"][2]["extra"]["response"]["choices"][0]
    choice["provider_specific_fields"] = {"token_ids": [5, 6]}
    choice["logprobs"] = {"content": [{"logprob": -0.5}, {"logprob": -0.25}]}
    document["messages"][2]["extra"]["response"]["prompt_token_ids"] = [1, 2, 3]
    turn = of_kind(rollout(document), "turn_completed")[0]
    assert (turn.new_prompt_ids, turn.completion_ids) == ([1, 2, 3], [5, 6])
    assert (turn.sampling_logprobs, turn.logprob_source) == ([-0.5, -0.25], "sampler")


def test_token_keys_without_content_are_null():
    document = mini()
    document["messages"][2]["extra"]["response"]["prompt_token_ids"] = []
    choice = document["messages"][2]["extra"]["response"]["choices"][0]
    choice["token_ids"], choice["logprobs"] = [], {"content": []}
    turn = of_kind(rollout(document), "turn_completed")[0]
    assert (turn.new_prompt_ids, turn.completion_ids, turn.sampling_logprobs) == (None, None, None)


def test_logprobs_that_do_not_fit_the_tokens_are_null():
    document = mini()
    choice = document["messages"][2]["extra"]["response"]["choices"][0]
    choice["token_ids"], choice["logprobs"] = [5, 6], {"content": [{"logprob": -0.5}]}
    turn = of_kind(rollout(document), "turn_completed")[0]
    assert (turn.completion_ids, turn.sampling_logprobs) == ([5, 6], None)


def test_no_tokens_for_a_reply_with_words_is_a_gap_and_not_a_zero():
    document = mini()
    document["messages"][2]["extra"]["response"]["usage"]["completion_tokens"] = 0
    assert of_kind(rollout(document), "turn_completed")[0].completion_token_count is None


def test_commands_in_the_text_have_their_results_in_user_messages():
    piece = rollout(mini_text(), "tests/data/local.traj.json")
    (result,) = of_kind(piece, "tool_returned")
    assert (result.return_code, result.raw_output, result.tool_name) == (2, None, None)
    assert (piece.turn_count, piece.cost_usd) == (2, None)
    ended = of_kind(piece, "rollout_ended")[0]
    assert (ended.stop_reason, ended.submission) == ("completed", "diff --git a/x b/x\n")


def test_files_without_ids_are_identified_by_their_task_and_first_reply():
    one = rollout(mini_text(), "tests/data/local.traj.json")
    assert one.rollout_id == rollout(mini_text(), "copies/other.traj.json").rollout_id
    other = mini_text()
    other[2]["content"] = "another first reply"
    assert one.rollout_id != rollout(other).rollout_id


def test_trials_that_died_before_their_first_call_are_rollouts_without_turns():
    died = mini()
    died["messages"] = [*died["messages"][:2], died["messages"][-1]]
    died["info"] |= {"exit_status": "AuthenticationError", "submission": ""}
    first, second = (rollout(died, f"runs/{run}/{INSTANCE}/{INSTANCE}.traj.json") for run in ("one", "two"))
    assert (first.turn_count, first.weak_identity) == (0, True)
    assert first.rollout_id != second.rollout_id
    moved = rollout(died, f"moved/runs/one/{INSTANCE}/{INSTANCE}.traj.json")
    assert moved.rollout_id == first.rollout_id
    (ended,) = of_kind(first, "rollout_ended")
    assert (ended.stop_reason, ended.exit_status) == ("error", "AuthenticationError")


def test_a_longer_recording_adds_facts_and_changes_none():
    early, late = mini(), mini()
    early["messages"] = early["messages"][:4]
    early["info"] |= {"exit_status": "", "submission": "", "model_stats": {"instance_cost": 0.0005}}
    shorter, longer = rollout(early), rollout(late)
    assert shorter.rollout_id == longer.rollout_id
    known = [event for event in shorter.events if event.KIND != "rollout_ended"]
    assert all(event in longer.events for event in known)
    lengths = [of_kind(piece, "rollout_ended")[0].recording_length for piece in (shorter, longer)]
    assert lengths == [4, 6]


@pytest.mark.parametrize("nothing", ["", None])
def test_a_killed_run_has_no_stop_reason(nothing: str | None):
    document = mini()
    document["messages"].pop()
    document["info"] |= {"exit_status": nothing, "submission": nothing}
    (ended,) = of_kind(rollout(document), "rollout_ended")
    assert (ended.stop_reason, ended.truncated, ended.exit_status) == ("unknown", None, None)


def test_an_unreadable_dropped_reply_costs_itself_and_has_its_cost():
    document = mini()
    extra = {"interrupt_type": "FormatError", "cost": 0.04, "response": "ModelResponse(id='chatcmpl-1')"}
    document["messages"].insert(4, {"role": "user", "content": "Unknown tool.", "extra": extra})
    piece = rollout(document)
    turns = of_kind(piece, "turn_completed")
    assert (piece.turn_count, piece.other_turn_count) == (2, 1)
    assert [turn.cost_usd for turn in turns] == [0.0005, 0.04, 0.0005]
    assert json.loads(turns[1].action_json)["content"] is None
    assert "ModelResponse" in turns[1].extra_json
    assert any("unreadable" in note for note in piece.losses.notes)


def test_model_arguments_of_an_odd_type_cost_themselves():
    document = mini()
    document["info"]["config"]["model"]["model_kwargs"] = ["temperature"]
    piece = rollout(document)
    (started,) = of_kind(piece, "rollout_started")
    assert started.sampling_json is None
    assert "model_kwargs" in started.config_json
    assert any("model_kwargs" in note for note in piece.losses.notes)


def test_reasoning_of_each_provider_stays_in_the_action():
    document = mini()
    thinking = [{"type": "thinking", "thinking": "A", "signature": "c2ln"}, {"type": "redacted_thinking"}]
    document["messages"][2] |= {"reasoning": "First.", "reasoning_details": [{"type": "reasoning.text"}]}
    document["messages"][4] |= {"reasoning_content": "A", "thinking_blocks": thinking}
    first, second = (json.loads(turn.action_json) for turn in of_kind(rollout(document), "turn_completed"))
    assert (first["reasoning_content"], first["reasoning_details"]) == (
        "First.",
        [{"type": "reasoning.text"}],
    )
    assert (second["reasoning_content"], second["thinking_blocks"]) == ("A", thinking)


def test_a_mark_for_the_cache_changes_no_state_and_hides_no_result():
    plain, marked = mini_text(), mini_text()
    for index in (1, 3):
        part = {"type": "text", "text": marked[index]["content"], "cache_control": {"type": "ephemeral"}}
        marked[index]["content"] = [part]
    states = [
        [turn.state_key for turn in of_kind(rollout(document), "turn_completed")]
        for document in (plain, marked)
    ]
    assert states[0] == states[1]
    assert [result.return_code for result in of_kind(rollout(marked), "tool_returned")] == [2]
    assert any("cache_control" in path for path, _ in rollout(marked).losses.dropped)


def test_items_of_the_responses_api_become_chat_messages():
    document = mini()
    document["messages"][2] = {
        "object": "response",
        "id": "resp-1",
        "model": "gpt-5",
        "status": "completed",
        "usage": {"input_tokens": 9, "output_tokens": 4, "output_tokens_details": {"reasoning_tokens": 2}},
        "output": [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "think"}]},
            {"type": "message", "content": [{"type": "output_text", "text": "I look."}]},
            {"type": "function_call", "call_id": "call-1", "name": "bash", "arguments": '{"command": "ls"}'},
        ],
        "extra": {"actions": [], "cost": 0.1, "timestamp": 1775784986.0},
    }
    document["messages"][3] = {
        "type": "function_call_output",
        "call_id": "call-1",
        "output": "shown",
        "extra": {"raw_output": "shown", "returncode": 0},
    }
    piece = rollout(document)
    turn = of_kind(piece, "turn_completed")[0]
    action = json.loads(turn.action_json)
    assert (action["content"], action["reasoning_content"]) == ("I look.", "think")
    assert action["tool_calls"][0]["function"]["name"] == "bash"
    assert (turn.response_id, turn.prompt_token_count, turn.reasoning_token_count) == ("resp-1", 9, 2)
    assert of_kind(piece, "tool_returned")[0].tool_name == "bash"


def test_equal_contexts_of_different_rollouts_share_the_state():
    other = mini()
    other["instance_id"] = "another__another-2"
    other["messages"][2] = mini_reply("other-id", "ls", at=1.5)
    other["messages"][3] = mini_result("other-id", "setup.py\n")
    other["messages"][2]["content"] = "running ls"
    keys = [[turn.state_key for turn in of_kind(rollout(d), "turn_completed")] for d in (mini(), other)]
    assert keys[0] == keys[1]
