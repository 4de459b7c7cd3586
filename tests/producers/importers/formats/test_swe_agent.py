"""SWE-agent: one turn for each trajectory entry, in all ages of the format."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from tests.producers.importers.samples import of_kind, read_document, rollout, swe
from tracelake.producers.importers.importer import Refusal

URI = "trajectories/run-1/astropy__astropy-1.traj"


def with_queries(document: dict[str, Any]) -> dict[str, Any]:
    """The same run as 1.1 writes it: the input of each call in its entry, no history needed."""
    history = [message for message in document["history"] if not message.get("is_demo")]
    replies = [place for place, message in enumerate(history) if message["role"] == "assistant"]
    for entry, place in zip(document["trajectory"], replies, strict=True):
        entry["query"] = copy.deepcopy(history[:place])
    return {**document, "history": []}


def test_the_observation_is_the_tool_result_and_its_context_text_is_what_was_seen():
    first, last = of_kind(rollout(swe(), URI), "tool_returned")
    assert first.raw_output == "setup.py\n"
    assert first.visible_output == "setup.py\n\n(Open file: n/a)\nbash-$"
    assert (first.visible_truncated, first.duration_ms) == (False, 250.0)
    assert (last.raw_output, last.visible_output) == ("diff", None)


def test_contexts_are_rebuilt_from_the_history_with_a_note():
    piece = rollout(swe(), URI)
    first, second = of_kind(piece, "turn_completed")
    assert [message["content"] for message in json.loads(first.new_messages_json)] == [
        "You are an agent.",
        "A demonstration.",
        "Fix the bug.",
    ]
    assert (second.parent_turn_index, second.context_length) == (0, 5)
    assert len(json.loads(second.new_messages_json)) == 1
    assert any("rebuilt from the history" in note for note in piece.losses.notes)


def test_queries_are_taken_as_stated():
    piece = rollout(with_queries(swe()), URI)
    turns = of_kind(piece, "turn_completed")
    assert [turn.context_length for turn in turns] == [2, 4]
    assert [turn.parent_turn_index for turn in turns] == [None, 0]
    assert not any("rebuilt" in note for note in piece.losses.notes)


def test_a_context_that_does_not_continue_the_last_one_is_a_new_root():
    document = with_queries(swe())
    document["trajectory"][1]["query"][0]["content"] = "Another system prompt."
    turns = of_kind(rollout(document, URI), "turn_completed")
    assert [turn.parent_turn_index for turn in turns] == [None, None]
    assert len(json.loads(turns[1].new_messages_json)) == 4


def test_an_elided_observation_continues_the_last_turn_that_it_still_agrees_with():
    document = swe()
    middle = copy.deepcopy(document["trajectory"][0]) | {"action": "pwd", "response": "I look.\npwd"}
    document["trajectory"].insert(1, middle)
    place = next(i for i, m in enumerate(document["history"]) if m["role"] == "assistant") + 2
    document["history"][place:place] = [
        {"role": "assistant", "content": "I look.\npwd", "action": "pwd"},
        {"role": "user", "content": "/testbed"},
    ]
    document = with_queries(document)
    document["trajectory"][2]["query"][3]["content"] = "Old environment output: (1 lines omitted)"
    turns = of_kind(rollout(document, URI), "turn_completed")
    assert [turn.parent_turn_index for turn in turns] == [None, 0, 0]


def test_messages_of_1_0_contain_the_context_after_the_call():
    document = with_queries(swe())
    for entry in document["trajectory"]:
        reply = {"role": "assistant", "content": entry["response"]}
        entry["messages"] = [*entry.pop("query"), reply, {"role": "user", "content": "seen"}]
    turns = of_kind(rollout(document, URI), "turn_completed")
    assert [turn.context_length for turn in turns] == [2, 4]


def test_structured_calls_come_from_the_messages():
    document = swe()
    call = {"id": "call-9", "type": "function", "function": {"name": "bash", "arguments": '{"command":"ls"}'}}
    document["history"][3]["tool_calls"] = [call]
    document["history"][4] |= {"role": "tool", "tool_call_ids": ["call-9"]}
    piece = rollout(document, URI)
    assert [turn.tool_call_count for turn in of_kind(piece, "turn_completed")] == [1, 0]
    assert of_kind(piece, "tool_returned")[0].tool_name == "bash"
    assert json.loads(of_kind(piece, "turn_completed")[1].new_messages_json)[0]["tool_call_id"] == "call-9"


def test_a_reply_that_is_not_in_the_history_has_no_child():
    document = swe()
    dropped = document["trajectory"][0] | {"action": "edit 9:9", "response": "I edit."}
    document["trajectory"].insert(1, dropped)
    piece = rollout(document, URI)
    assert [turn.parent_turn_index for turn in of_kind(piece, "turn_completed")] == [None, 0, 0]
    assert any("1 replies are not in the history" in note for note in piece.losses.notes)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("submitted", ("completed", False, None)),
        ("submitted (exit_cost)", ("max_cost", True, "max_cost")),
        ("exit_context", ("max_tokens", True, "context_window")),
        ("exit_command_timeout", ("timeout", True, "timeout")),
        ("exit_format", ("parse_error", None, None)),
        (None, ("unknown", None, None)),
    ],
)
def test_an_exit_status_is_mapped_to_a_stop_reason(status: str | None, expected: tuple):
    document = swe()
    document["info"]["exit_status"] = status
    ended = of_kind(rollout(document, URI), "rollout_ended")[0]
    assert (ended.stop_reason, ended.truncated, ended.truncated_by) == expected


def test_a_demonstration_that_sent_no_tokens_has_no_cost():
    document = swe()
    document["info"]["model_stats"] = {"instance_cost": 0, "tokens_sent": 0, "api_calls": 11}
    assert of_kind(rollout(document, URI), "rollout_ended")[0].cost_usd is None
    assert of_kind(rollout(swe(), URI), "rollout_ended")[0].cost_usd == 0.5


def test_replay_config_names_model_and_task_and_loses_its_key():
    document = swe()
    model = {
        "name": "gpt-4o",
        "temperature": 1.0,
        "api_key": "sk-very-secret",
        "api_base": "https://u:p@host",
    }
    config = {"agent": {"model": model}, "problem_statement": {"id": "marshmallow-1867", "text": "fix"}}
    document["replay_config"] = json.dumps(config)
    started = of_kind(rollout(document, URI), "rollout_started")[0]
    assert (started.model_requested, started.task_key) == ("gpt-4o", "marshmallow-1867")
    assert "sk-very-secret" not in started.config_json
    assert "u:p@" not in started.config_json


def test_a_time_that_is_no_number_of_milliseconds_costs_itself():
    document = swe()
    document["trajectory"][0]["execution_time"] = 1e308
    piece = rollout(document, URI)
    assert [result.duration_ms for result in of_kind(piece, "tool_returned")] == [None, 250.0]
    assert any("execution_time" in note for note in piece.losses.notes)
    assert "1e+308" in of_kind(piece, "turn_completed")[0].extra_json


def test_a_run_without_an_action_is_a_rollout_without_turns():
    document = swe() | {"trajectory": [], "history": []}
    piece = rollout(document, URI)
    assert (piece.turn_count, piece.weak_identity) == (0, True)
    assert of_kind(piece, "rollout_ended")[0].stop_reason == "error"


def test_a_run_that_grows_keeps_its_identity_and_its_facts():
    early, late = swe(), swe()
    early["trajectory"], early["history"] = early["trajectory"][:1], early["history"][:4]
    shorter, longer = rollout(early, URI), rollout(late, URI)
    assert shorter.rollout_id == longer.rollout_id
    kinds = ("rollout_started", "turn_completed")
    assert all(event in longer.events for kind in kinds for event in of_kind(shorter, kind))


def test_thinking_of_the_history_is_in_the_action():
    document = swe()
    document["history"][3]["thinking_blocks"] = [{"type": "thinking", "thinking": "T", "signature": "s"}]
    action = json.loads(of_kind(rollout(document, URI), "turn_completed")[0].action_json)
    assert action["thinking_blocks"][0]["signature"] == "s"


def test_the_state_after_an_action_is_in_extra_json():
    assert "open_file" in of_kind(rollout(swe(), URI), "turn_completed")[0].extra_json


def test_a_history_without_a_trajectory_is_refused_with_the_reason():
    (piece,) = read_document({"history": swe()["history"]}, URI)
    assert isinstance(piece, Refusal)
    assert "without a trajectory" in piece.reason


def test_what_queries_repeat_is_stored_once():
    document = swe()
    for index, entry in enumerate(document["trajectory"]):
        entry["query"] = [message | {"ui_note": "x" * 50} for message in document["history"][: 3 + 2 * index]]
    turns = of_kind(rollout(document, URI), "turn_completed")
    assert [turn.extra_json.count("ui_note") for turn in turns] == [3, 2]
