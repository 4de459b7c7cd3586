"""OpenTelemetry's GenAI spans in each convention."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.producers.importers.samples import as_lines, of_kind, read_bytes, read_document, rollout
from tests.producers.importers.samples_otel import agent_trace, event_trace, export, flat_trace, span
from tracelake.producers.importers.importer import ImportedRollout, Refusal


def spans(document: dict[str, Any]) -> list[dict[str, Any]]:
    return document["resourceSpans"][0]["scopeSpans"][0]["spans"]


def test_calls_of_a_model_are_turns_with_their_usage():
    piece = rollout(agent_trace())
    turns = of_kind(piece, "turn_completed")
    assert [(turn.parent_turn_index, turn.response_id) for turn in turns] == [
        (None, "resp-2"),
        (None, "resp-4"),
    ]
    first = turns[0]
    assert (first.prompt_token_count, first.cached_token_count, first.completion_token_count) == (20, 8, 5)
    assert (first.model_requested, first.model_served, first.latency_ms) == ("gpt-4o", "gpt-4o-2024", 500.0)
    action = json.loads(first.action_json)
    assert action["tool_calls"][0]["function"] == {"name": "price", "arguments": '{"item":"boat"}'}
    assert action["reasoning_content"] == "Hm."
    assert [each["role"] for each in json.loads(first.new_messages_json)] == ["system", "user"]


def test_a_tool_span_adds_raw_output_and_time_to_what_the_next_call_was_given():
    (result,) = of_kind(rollout(agent_trace()), "tool_returned")
    assert (result.turn_index, result.tool_name, result.duration_ms) == (0, "price", 500.0)
    assert (result.visible_output, result.raw_output) == ("9 coins", '{"price": 9}')


def test_an_evaluation_scores_its_turn_and_the_trace_is_the_rollout():
    piece = rollout(agent_trace())
    (reward,) = of_kind(piece, "reward_assigned")
    assert (reward.name, reward.score, reward.turn_index) == ("helpful", 0.5, 1)
    (start,) = of_kind(piece, "rollout_started")
    assert (start.environment, start.model_requested) == ("shop-agent", "gpt-4o")
    assert json.loads(start.sampling_json) == {"temperature": 0.5}
    (ended,) = of_kind(piece, "rollout_ended")
    assert (ended.stop_reason, ended.recording_length) == ("completed", 4)
    assert json.loads(ended.metrics_json)["other_spans"][0]["attributes"]["gen_ai.agent.name"] == "seller"


@pytest.mark.parametrize("document", [event_trace(), flat_trace()])
def test_old_conventions_have_the_same_action(document: Any):
    (turn,) = of_kind(rollout(document), "turn_completed")
    action = json.loads(turn.action_json)
    assert action["tool_calls"][0]["function"] == {"name": "price", "arguments": "{}"}
    assert json.loads(turn.new_messages_json)[-1]["content"] == "What is a boat?"
    assert 7 in (turn.prompt_token_count, turn.completion_token_count) or turn.completion_token_count == 3


def test_a_trace_without_messages_is_refused_with_a_cure():
    (piece,) = read_document(export(span(2, "chat", {"gen_ai.request.model": "gpt-4o"})))
    assert isinstance(piece, Refusal)
    assert "record the content" in piece.reason


def test_content_that_was_cut_off_is_no_turn():
    document = agent_trace()
    for attribute in spans(document)[0]["attributes"]:
        if attribute["key"] == "gen_ai.input.messages":
            attribute["value"]["stringValue"] = attribute["value"]["stringValue"][:20]
    piece = rollout(document)
    assert piece.turn_count == 1
    assert any("cut off" in note for note in piece.losses.notes)


def test_a_trace_over_several_exports_is_one_rollout_and_grows():
    parts = [export(each) for each in spans(agent_trace())]
    (whole,) = read_bytes(as_lines(parts))
    assert isinstance(whole, ImportedRollout)
    (shorter,) = read_bytes(as_lines(parts[:2]))
    assert isinstance(shorter, ImportedRollout)
    assert all(event in whole.events for event in shorter.events[:-1])
    assert of_kind(shorter, "rollout_ended")[0].stop_reason == "unfinished"


def test_a_failed_root_ends_in_error():
    document = agent_trace()
    spans(document)[3]["status"] = {"code": 2, "message": "out of money"}
    (ended,) = of_kind(rollout(document), "rollout_ended")
    assert (ended.stop_reason, ended.error) == ("error", "out of money")


def test_spans_of_other_software_are_not_claimed():
    with pytest.raises(ValueError, match="not a trace of a known format"):
        read_document(export(span(2, "GET /", {"http.request.method": "GET"})))
