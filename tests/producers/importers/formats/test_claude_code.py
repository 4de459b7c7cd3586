"""Sessions of Claude Code: replies in several lines, parallel results, compaction, side chains."""

from __future__ import annotations

import json
from typing import Any

from tests.producers.importers.samples import as_lines, of_kind, read_bytes
from tests.producers.importers.samples_claude_code import SESSION, call, reply, result, session, user
from tracelake.producers.importers.importer import ImportedRollout, Refusal


def rollouts(lines: list[Any], uri: str = "projects/p/s.jsonl") -> list[ImportedRollout]:
    pieces = read_bytes(as_lines(lines), uri)
    assert not [piece for piece in pieces if isinstance(piece, Refusal)], pieces
    return [piece for piece in pieces if isinstance(piece, ImportedRollout)]


def test_lines_of_one_message_are_one_turn():
    (piece,) = rollouts(session())
    turns = of_kind(piece, "turn_completed")
    assert [turn.response_id for turn in turns] == ["msg_1", "msg_2", "msg_3"]
    action = json.loads(turns[0].action_json)
    assert [each["function"]["name"] for each in action["tool_calls"]] == ["Bash", "Read"]
    assert action["reasoning_content"] == "First look."
    assert action["thinking_blocks"][0]["signature"] == "sig"
    assert json.loads(turns[1].action_json)["content"] == "Done."


def test_results_of_parallel_calls_all_join_the_next_context():
    (piece,) = rollouts(session())
    turn = of_kind(piece, "turn_completed")[1]
    assert turn.parent_turn_index == 0
    assert [each["tool_call_id"] for each in json.loads(turn.new_messages_json)] == ["t1", "t2"]
    results = of_kind(piece, "tool_returned")
    assert [(each.tool_name, each.visible_output, each.raw_output) for each in results] == [
        ("Bash", "a.txt", "a.txt\nb.txt"),
        ("Read", "no such file", "Error: no such file"),
    ]
    assert (results[0].duration_ms, results[0].error, results[1].error) == (12.0, None, "no such file")


def test_a_compaction_begins_a_new_root_of_the_same_rollout():
    (piece,) = rollouts(session())
    turn = of_kind(piece, "turn_completed")[2]
    assert turn.parent_turn_index is None
    said = [message["content"] for message in json.loads(turn.new_messages_json)]
    assert said == ["Summary: the bug is fixed.", "Thanks. What was it?"]


def test_usage_counts_cached_tokens_and_is_unknown_where_the_reply_was_not_complete():
    lines = session()
    lines[4]["message"]["stop_reason"] = None
    first, second, _ = of_kind(rollouts(lines)[0], "turn_completed")
    assert (first.prompt_token_count, first.cached_token_count) == (1103, 1000)
    assert (first.completion_token_count, second.completion_token_count) == (None, 25)
    assert (second.finish_reason, second.truncated) == ("end_turn", False)


def test_a_session_ends_with_an_answer_or_is_unfinished():
    (ended,) = of_kind(rollouts(session())[0], "rollout_ended")
    assert (ended.stop_reason, ended.recording_length) == ("completed", 11)
    assert [line["type"] for line in json.loads(ended.metrics_json)["other_lines"]] == ["summary", "system"]
    (ended,) = of_kind(rollouts(session()[:7])[0], "rollout_ended")
    assert ended.stop_reason == "unfinished"


def test_a_longer_recording_repeats_the_events_of_the_shorter():
    longer = rollouts(session())[0]
    for count in range(2, 12):
        (shorter,) = rollouts(session()[:count])
        assert shorter.rollout_id == longer.rollout_id
        assert all(event in longer.events for event in shorter.events[:-1]), count


def test_a_reply_that_may_go_on_is_no_turn_yet():
    (piece,) = rollouts(session()[:4])
    assert piece.turn_count == 0


def test_a_copy_under_another_path_and_repeated_lines_are_the_same_rollout():
    first, again = rollouts(session()), rollouts([*session(), *session()], "projects/q/t.jsonl")
    assert [each.events[:-1] for each in first] == [each.events[:-1] for each in again]


def test_a_side_chain_is_a_rollout_of_its_own():
    side = [
        user(20, None, "Find the bug.", isSidechain=True, agentId="a1"),
        reply(21, 20, "msg_9", {"type": "text", "text": "Found."}, "end_turn"),
    ]
    main, agent = rollouts([*session(), *side])
    assert main.rollout_id != agent.rollout_id
    (start,) = of_kind(agent, "rollout_started")
    assert (start.group_id, agent.turn_count) == (SESSION, 1)


def test_an_error_of_the_api_is_no_turn():
    lines = [user(0, None, "Fix it."), reply(1, 0, "m", {"type": "text", "text": "API Error: 529"})]
    lines[1]["message"]["model"] = "<synthetic>"
    lines[1]["isApiErrorMessage"] = True
    (piece,) = rollouts(lines)
    (ended,) = of_kind(piece, "rollout_ended")
    assert (ended.stop_reason, ended.error, piece.turn_count) == ("error", "API Error: 529", 0)


def test_parents_in_a_circle_end():
    lines = [user(0, 1, "Fix it."), reply(1, 0, "m", call("t", "Bash")), result(2, 1, "t", "ok")]
    lines[0]["parentUuid"] = "u2"
    (piece,) = rollouts(lines)
    assert piece.turn_count == 1


def test_a_session_without_messages_is_refused():
    pieces = read_bytes(
        as_lines([session()[0], session()[8], reply(1, 0, "m", {"type": "text", "text": "x"})])
    )
    assert [type(piece) for piece in pieces] == [Refusal]
