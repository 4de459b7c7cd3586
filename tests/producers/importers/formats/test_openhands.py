"""OpenHands: the events of its SDK, the folder that it writes, and rows of its benchmark harness."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.producers.importers.samples import as_lines, of_kind, read_bytes
from tests.producers.importers.samples_openhands import (
    action,
    base_state,
    event,
    event_id,
    observation,
    old_row,
    output_row,
    sdk_events,
)
from tracelake.lake import Lake
from tracelake.producers.importers.import_sources import import_sources
from tracelake.producers.importers.importer import ImportedRollout, Refusal


def only(*lines: Any) -> ImportedRollout:
    (piece,) = read_bytes(as_lines(list(lines)))
    assert isinstance(piece, ImportedRollout), piece
    return piece


def folder(root: Path) -> Path:
    (root / "events").mkdir(parents=True)
    (root / "base_state.json").write_text(json.dumps(base_state()))
    for number, each in enumerate(sdk_events()):
        name = f"event-{number:05d}-{event_id(number)}.json"
        (root / "events" / name).write_text(json.dumps(each))
    return root


def test_actions_of_one_response_are_one_turn():
    turns = of_kind(only(*sdk_events()), "turn_completed")
    assert [turn.response_id for turn in turns] == ["r1", "r3"]
    first = json.loads(turns[0].action_json)
    assert [call["id"] for call in first["tool_calls"]] == ["c1", "c2"]
    assert (first["content"], first["reasoning_content"]) == ("I look.", "First look.")
    assert first["thinking_blocks"][0]["signature"] == "sig"


def test_what_joins_a_user_message_is_a_part_of_it():
    turn = of_kind(only(*sdk_events()), "turn_completed")[0]
    system, user = json.loads(turn.new_messages_json)
    assert system == {"content": "You code.", "role": "system"}
    assert [part["text"] for part in user["content"]] == ["Fix the bug.", "Hint."]


def test_a_condensation_begins_a_new_root_without_what_was_forgotten():
    turn = of_kind(only(*sdk_events()), "turn_completed")[1]
    assert turn.parent_turn_index is None
    messages = json.loads(turn.new_messages_json)
    assert [message["role"] for message in messages] == ["system", "user", "user"]
    assert messages[2]["content"] == "Looked around."


def test_results_belong_to_their_calls():
    results = of_kind(only(*sdk_events()), "tool_returned")
    assert [(each.turn_index, each.call_index, each.tool_call_id) for each in results] == [
        (0, 0, "c1"),
        (0, 1, "c2"),
    ]
    assert [(each.visible_output, each.error, each.return_code) for each in results] == [
        ("a.txt", None, 0),
        ("no file", "no file", 1),
    ]


def test_a_critic_scores_a_turn_and_a_finish_ends_the_rollout():
    piece = only(*sdk_events())
    (critic,) = of_kind(piece, "reward_assigned")
    assert (critic.name, critic.turn_index, critic.score) == ("critic", 1, 0.75)
    (ended,) = of_kind(piece, "rollout_ended")
    assert (ended.stop_reason, ended.submission, ended.recording_length) == ("completed", "All done.", 9)


def test_a_row_has_usage_latency_and_cost_by_response():
    piece = only(output_row())
    (start,) = of_kind(piece, "rollout_started")
    assert (start.task_key, start.trial_index) == ("openhands-benchmark:django__1", 1)
    assert start.model_requested == "deepseek/deepseek-chat"
    turns = of_kind(piece, "turn_completed")
    assert [(turn.prompt_token_count, turn.cached_token_count, turn.cost_usd) for turn in turns] == [
        (100, 64, 0.01),
        (100, 64, 0.02),
    ]
    assert (turns[0].latency_ms, turns[1].latency_ms) == (1500.0, None)
    (ended,) = of_kind(piece, "rollout_ended")
    assert (ended.submission, ended.cost_usd) == ("diff --git a/x b/x\n", 0.03)


def test_costs_that_fit_no_response_are_not_guessed():
    row = output_row()
    row["metrics"]["costs"].pop()
    assert [turn.cost_usd for turn in of_kind(only(row), "turn_completed")] == [None, None]


def test_events_before_the_sdk_have_the_response_and_the_harness_its_report():
    piece = only(old_row())
    turns = of_kind(piece, "turn_completed")
    assert (turns[0].response_id, turns[0].prompt_token_count, turns[0].finish_reason) == (
        "resp-1",
        50,
        "tool_calls",
    )
    (result,) = of_kind(piece, "tool_returned")
    assert (result.tool_name, result.return_code, result.visible_output) == ("execute_bash", 0, "a.txt")
    (reward,) = of_kind(piece, "reward_assigned")
    assert (reward.name, reward.score, reward.grader) == ("reward", 1.0, "openhands-benchmark")
    assert of_kind(piece, "rollout_ended")[0].stop_reason == "completed"


def test_before_the_sdk_results_lay_between_the_actions_of_one_reply():
    events = old_row()["history"]
    first, result = events[2], events[3]
    response = first["tool_call_metadata"]["model_response"]
    calls = response["choices"][0]["message"]["tool_calls"]
    calls.append({**calls[0], "id": "c2"})
    for event_ in (first, result):
        event_["tool_call_metadata"]["total_calls_in_response"] = 2
    second = {**first, "id": 6, "tool_call_metadata": {**first["tool_call_metadata"], "tool_call_id": "c2"}}
    other = {**result, "id": 7, "tool_call_metadata": {**result["tool_call_metadata"], "tool_call_id": "c2"}}
    whole = only(*events[:4], second, other, events[4])
    turns = of_kind(whole, "turn_completed")
    assert [turn.tool_call_count for turn in turns] == [2, 1]
    results = of_kind(whole, "tool_returned")
    assert [(each.turn_index, each.tool_call_id) for each in results] == [(0, "c1"), (0, "c2")]
    assert len(json.loads(turns[1].new_messages_json)) == 2
    assert only(*events[:4]).turn_count == 0


def test_a_file_of_events_before_the_sdk_ends_with_its_finish():
    events = old_row()["history"][:5]
    events[0]["args"]["openhands_version"] = "0.58.0"
    piece = only(*events)
    assert (piece.turn_count, of_kind(piece, "rollout_ended")[0].stop_reason) == (2, "completed")
    assert of_kind(piece, "rollout_started")[0].substrate_version == "0.58.0"


def test_a_row_that_failed_before_its_first_event_is_a_rollout_of_zero_turns():
    row = output_row() | {"history": [], "error": "RuntimeError: no runtime", "metrics": None}
    piece = only(row)
    (ended,) = of_kind(piece, "rollout_ended")
    assert (ended.stop_reason, ended.turn_count, ended.cost_usd) == ("error", 0, None)
    assert piece.weak_identity


def test_the_iteration_limit_is_no_error():
    row = output_row() | {"error": "Agent reached maximum iteration."}
    (ended,) = of_kind(only(row), "rollout_ended")
    assert (ended.stop_reason, ended.truncated) == ("max_turns", True)


def test_token_ids_follow_their_reply():
    tokens = event(9, "TokenEvent", "agent", prompt_token_ids=[1, 2], response_token_ids=[3])
    call, result = action(2, "c1", "ls", "r1"), observation(4, "c1", "a", 2)
    begun = sdk_events()[:2]
    (turn,) = of_kind(only(*begun, call, result, tokens), "turn_completed")
    assert (list(turn.new_prompt_ids), list(turn.completion_ids)) == ([1, 2], [3])


def test_a_longer_recording_repeats_the_events_of_the_shorter():
    shorter, longer = only(*sdk_events()[:6]), only(*sdk_events())
    assert shorter.rollout_id == longer.rollout_id
    assert all(event in longer.events for event in shorter.events[:-1])


@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_of_events_is_one_rollout_with_the_state_next_to_it(
    fresh_lake: Lake, tmp_path: Path, packed: bool
):
    root = folder(tmp_path / "runs" / "conversation")
    source = root.parent
    if packed:
        source = tmp_path / "runs.tar.gz"
        with tarfile.open(source, "w:gz") as archive:
            archive.add(root, "conversation")
    report = import_sources(fresh_lake, [source])
    assert (report.rollouts, report.turns) == (1, 2), report
    again = import_sources(fresh_lake, [source])
    assert (again.new_events, again.conflicts) == (0, 0)


def test_the_state_gives_identity_model_and_usage(fresh_lake: Lake, tmp_path: Path):
    import_sources(fresh_lake, [folder(tmp_path / "one")])
    import_sources(fresh_lake, [folder(tmp_path / "copy")])
    fresh_lake.project()
    turns = fresh_lake.scan("turn_completed").sort("turn_index").collect().to_dicts()
    assert [(turn["prompt_token_count"], turn["cost_usd"]) for turn in turns] == [(100, 0.01), (100, 0.02)]
    (start,) = fresh_lake.scan("rollout_started").collect().to_dicts()
    assert start["model_requested"] == "deepseek/deepseek-chat"
    assert "sk-very-secret" not in start["config_json"]


def test_the_last_reply_of_a_file_that_grows_waits_for_its_result():
    piece = only(*sdk_events()[:3])
    assert piece.turn_count == 0
    (ended,) = of_kind(piece, "rollout_ended")
    assert json.loads(ended.metrics_json)["other_events"][0]["llm_response_id"] == "r1"


def test_a_damaged_event_costs_itself():
    data = as_lines(sdk_events()[:4]) + b'{"kind": \n' + as_lines(sdk_events()[4:])
    found = read_bytes(data)
    assert sum(isinstance(piece, Refusal) for piece in found) == 1
    (piece,) = [piece for piece in found if isinstance(piece, ImportedRollout)]
    assert piece.turn_count == 2
