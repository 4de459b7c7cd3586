"""Inspect: `.eval` zips and JSON logs, with and without a transcript."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from tests.producers.importers.samples import of_kind, read_bytes, read_document, rollout
from tests.producers.importers.samples_inspect import (
    LONG,
    as_eval,
    inspect_log,
    inspect_log_of_2024,
    inspect_log_without_transcript,
)
from tracelake.producers.importers.importer import ImportedRollout, Refusal
from tracelake.schemas.errors import SourceFormatError


def changed(**fields: Any) -> ImportedRollout:
    log = inspect_log()
    log["samples"][0] |= fields
    return rollout(log)


def test_both_files_of_a_log_have_the_same_facts():
    (of_zip,) = read_bytes(as_eval(inspect_log()), "logs/doors.eval")
    assert isinstance(of_zip, ImportedRollout)
    assert of_zip.events == rollout(inspect_log()).events


def test_a_sample_in_an_epoch_is_a_rollout_of_its_task():
    started = of_kind(rollout(inspect_log()), "rollout_started")[0]
    assert (started.environment, started.trial_index, started.substrate_version) == ("doors", 1, "0.3.95")
    assert started.task_key.startswith("doors:1-")
    assert json.loads(started.sampling_json) == {"temperature": 0.5, "max_tokens": 100}
    assert json.loads(started.config_json)["message_limit"] == 30
    assert json.loads(started.task_json)["input"] == LONG
    assert json.loads(started.tools_json)[0]["function"]["name"] == "look"


def test_a_retried_evaluation_has_the_same_rollout():
    retried = inspect_log()
    retried["eval"] |= {"run_id": "run-2", "created": "2025-06-01T00:00:00Z"}
    retried["status"] = "cancelled"
    assert rollout(retried).events == rollout(inspect_log()).events


def test_model_calls_are_turns_with_the_context_that_they_state():
    first, last = of_kind(rollout(inspect_log()), "turn_completed")
    assert json.loads(first.new_messages_json) == [{"role": "user", "content": LONG}]
    assert json.loads(last.new_messages_json) == [{"role": "tool", "content": "a door", "tool_call_id": "c1"}]
    assert (last.parent_turn_index, last.context_length) == (0, 3)
    action = json.loads(last.action_json)
    assert (action["content"], action["reasoning_content"]) == ("A door.", "It is a door.")
    assert action["reasoning_details"][0]["signature"] == "sig"
    assert (first.model_requested, first.model_served) == ("openai/gpt-4o-mini", "gpt-4o-mini-2024-07-18")
    assert (first.response_id, first.system_fingerprint) == ("chatcmpl-1", "fp_1")
    assert (first.finish_reason, first.latency_ms) == ("tool_calls", 500)
    assert first.occurred_at is not None


def test_a_prompts_tokens_contain_the_cached_ones():
    first = of_kind(rollout(inspect_log()), "turn_completed")[0]
    counts = (first.prompt_token_count, first.cached_token_count, first.completion_token_count)
    assert counts == (60, 20, 1)


def test_results_have_the_time_and_the_error_of_their_tool():
    (result,) = of_kind(rollout(inspect_log()), "tool_returned")
    assert (result.tool_name, result.tool_call_id, result.turn_index) == ("look", "c1", 0)
    assert (result.visible_output, result.visible_truncated) == ("a door", True)
    assert (result.error, result.duration_ms) == ("too slow", 250)


def test_a_scorers_model_call_is_no_turn_and_stays():
    for log in (inspect_log(), inspect_log_of_2024()):
        piece = rollout(log)
        assert piece.turn_count == (2 if "uuid" in log["samples"][0] else 1)
        events = json.loads(of_kind(piece, "rollout_ended")[0].extra_json)["events"]
        assert [event["event"] for event in events if event["event"] == "model"] == ["model"]


def test_contents_of_older_transcripts_are_resolved():
    piece = rollout(inspect_log_of_2024())
    (turn,) = of_kind(piece, "turn_completed")
    assert json.loads(turn.new_messages_json) == [{"role": "user", "content": LONG}]
    assert json.loads(turn.action_json)["content"] == f"{LONG}er"
    ended = of_kind(piece, "rollout_ended")[0]
    assert json.loads(ended.extra_json)["attachments"] == {"unused": "what nobody refers to"}


def test_without_a_transcript_assistant_messages_are_turns():
    piece = rollout(inspect_log_without_transcript())
    first, last = of_kind(piece, "turn_completed")
    assert (piece.tool_result_count, first.finish_reason, last.finish_reason) == (1, None, "stop")
    assert last.prompt_token_count is None


@pytest.mark.parametrize(
    ("value", "rewards"),
    [
        ("I", {"graded": 0.0, "reward": 0.0}),
        ("P", {"graded": 0.5, "reward": 0.5}),
        (0.25, {"graded": 0.25, "reward": 0.25}),
        (True, {"graded": 1.0, "reward": 1.0}),
        ("unclear", {"graded": None, "reward": None}),
        ({"speed": 2, "grade": "C"}, {"graded.speed": 2.0, "graded.grade": 1.0}),
        ([1, "N"], {"graded.0": 1.0, "graded.1": 0.0}),
    ],
)
def test_scores_are_letters_numbers_or_several(value: Any, rewards: dict[str, float | None]):
    piece = changed(scores={"graded": {"value": value}})
    assert {reward.name: reward.score for reward in of_kind(piece, "reward_assigned")} == rewards


def test_of_several_scorers_none_gives_the_reward():
    piece = changed(scores={"one": {"value": 1}, "two": {"value": 0}})
    rewards = {(reward.name, reward.grader) for reward in of_kind(piece, "reward_assigned")}
    assert rewards == {("one", "one"), ("two", "two")}


@pytest.mark.parametrize(
    ("limit", "ending"),
    [
        ("message", ("max_turns", "max_turns")),
        ("token", ("max_tokens", "max_tokens")),
        ("context", ("max_tokens", "context_window")),
        ("working", ("timeout", "timeout")),
        ("cost", ("max_cost", "max_cost")),
        ("custom", ("unknown", "custom")),
    ],
)
def test_a_limit_cut_the_sample_off(limit: str, ending: tuple[str, str]):
    ended = of_kind(changed(limit={"type": limit, "limit": 3}), "rollout_ended")[0]
    assert (ended.stop_reason, ended.truncated_by, ended.truncated) == (*ending, True)


def test_a_sample_that_failed_before_its_first_call_has_no_turns():
    error = {"message": "no model", "traceback": "Traceback: no model"}
    piece = changed(error=error, messages=[], events=[], scores=None, output={})
    ended = of_kind(piece, "rollout_ended")[0]
    assert (piece.turn_count, ended.stop_reason, ended.error) == (0, "error", "Traceback: no model")
    assert json.loads(ended.metrics_json)["error"] == error


def test_a_log_without_samples_and_a_zip_of_something_else_are_refused():
    for status in ("started", "cancelled"):
        (refusal,) = read_document({**inspect_log(), "samples": None, "status": status})
        assert isinstance(refusal, Refusal)
        assert "without samples" in refusal.reason
    with pytest.raises(SourceFormatError, match="known format"):
        read_bytes(as_eval({}).replace(b"header.json", b"reader.json"), "logs/x.zip")


def test_a_bad_sample_costs_itself():
    log = inspect_log()
    log["samples"] += [{"id": 1}, "words", {**copy.deepcopy(log["samples"][0]), "uuid": "u2", "messages": 3}]
    pieces = read_bytes(as_eval(log), "logs/doors.eval")
    assert [type(piece) for piece in pieces] == [ImportedRollout, Refusal, Refusal, Refusal]


def test_references_that_expand_beyond_measure_are_refused(monkeypatch: pytest.MonkeyPatch):
    module = "tracelake.producers.importers.conversion.inspect_messages"
    monkeypatch.setattr(f"{module}.ADDED_CHARACTERS_MAX", 1000)
    log = inspect_log()
    log["samples"][0]["store"] = {"many": ["attachment://long"] * 100}
    (refusal,) = read_document(log)
    assert isinstance(refusal, Refusal)
    assert "expand beyond measure" in refusal.reason


def test_a_range_outside_of_the_message_pool_is_refused():
    log = inspect_log()
    log["samples"][0]["events"][1]["input_refs"] = [[0, 99]]
    (refusal,) = read_document(log)
    assert isinstance(refusal, Refusal)
    assert "message pool" in refusal.reason
