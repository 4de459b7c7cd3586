"""ATIF: what a trajectory document becomes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.producers.importers.samples import as_json, of_kind, read_bytes, read_document, rollout
from tests.producers.importers.samples_atif import atif, atif_terminal
from tracelake.producers.importers.importer import ImportedRollout, Refusal
from tracelake.producers.importers.source import Source


class Trial:
    """A folder with the result of the trial."""

    def __init__(self, result: Any) -> None:
        self._data = json.dumps(result).encode()

    def read(self, source: Source, name: str) -> bytes | None:
        return self._data if name == "result.json" else None


def test_only_model_calls_are_turns():
    piece = rollout(atif_terminal())
    assert (piece.turn_count, piece.tool_result_count) == (2, 1)
    first, second = of_kind(piece, "turn_completed")
    assert [message["role"] for message in json.loads(first.new_messages_json)] == ["user", "assistant"]
    assert json.loads(second.new_messages_json) == [{"role": "user", "content": "/app"}]


def test_a_call_has_its_metrics_tokens_and_time():
    piece = read_document(atif())[0]
    turn = of_kind(piece, "turn_completed")[0]
    assert (turn.prompt_token_count, turn.completion_token_count, turn.cached_token_count) == (10, 2, 4)
    assert (turn.new_prompt_ids, turn.completion_ids) == ([1, 2, 3], [4, 5])
    assert (turn.sampling_logprobs, turn.logprob_source) == ([-0.5, -0.25], "sampler")
    assert turn.cost_usd == 0.5
    assert turn.occurred_at.isoformat() == "2026-01-02T03:04:05+00:00"
    assert turn.model_requested == "openai/gpt-4o-mini"
    assert of_kind(piece, "turn_completed")[1].cost_usd is None


def test_results_have_the_name_of_their_call():
    results = of_kind(read_document(atif())[0], "tool_returned")
    assert [(result.tool_name, result.tool_call_id) for result in results] == [("bash", "c1"), ("read", "c2")]
    assert [result.visible_output for result in results] == ["a.txt", ""]


def test_a_doubled_call_id_is_ambiguous():
    document = atif()
    document["steps"][2]["tool_calls"][1]["tool_call_id"] = "c1"
    piece = read_document(document)[0]
    assert of_kind(piece, "tool_returned")[0].tool_name is None
    assert any("same id" in note for note in piece.losses.notes)


def test_subagents_are_rollouts_of_their_own():
    main, subagent = read_document(atif())
    assert isinstance(subagent, ImportedRollout)
    assert main.rollout_id != subagent.rollout_id
    assert subagent.turn_count == 1


def test_the_session_does_not_identify_a_trajectory():
    one, continued = atif_terminal(), atif_terminal()
    continued["agent"]["extra"] = {"continuation_index": 1}
    assert rollout(one).rollout_id != rollout(continued).rollout_id
    grown = atif_terminal()
    del one["steps"][3:], one["steps"][2]["observation"]
    assert rollout(one).rollout_id == rollout(grown).rollout_id


def test_keys_without_a_field_are_in_extra_json_where_they_were():
    piece = read_document(atif())[0]
    turn = json.loads(of_kind(piece, "turn_completed")[0].extra_json)
    assert turn["extra"] == {"note": "first"}
    assert turn["metrics"] == {"extra": {"engine": "vllm"}}
    assert turn["tool_calls"] == {"0": {"extra": {"ui": 1}}}
    ended = json.loads(of_kind(piece, "rollout_ended")[0].extra_json)
    assert ended["agent"] == {"extra": {"parser": "json"}}
    assert ended["final_metrics"]["total_cached_tokens"] == 4


def test_rewards_come_from_the_result_of_the_trial():
    trial = Trial({"verifier_result": {"rewards": {"reward": 1.0, "speed": 0.5}}, "exception_info": None})
    (piece,) = read_bytes(as_json(atif_terminal()), neighbours=trial)
    assert isinstance(piece, ImportedRollout)
    scores = {event.name: event.score for event in of_kind(piece, "reward_assigned")}
    assert scores == {"reward": 1.0, "speed": 0.5}
    (invalid,) = read_bytes(
        as_json(atif_terminal()),
        neighbours=Trial({"verifier_result": {"reward_valid": False, "rewards": {"reward": 1.0}}}),
    )
    assert isinstance(invalid, ImportedRollout)
    assert of_kind(invalid, "reward_assigned") == []


def test_a_time_without_a_zone_is_no_time_and_stays_in_extra_json():
    document = atif()
    document["steps"][2]["timestamp"] = "2026-01-02T03:04:05"
    turn = of_kind(read_document(document)[0], "turn_completed")[0]
    assert turn.occurred_at is None
    assert json.loads(turn.extra_json)["timestamp"] == "2026-01-02T03:04:05"


@pytest.mark.parametrize("entry", [{"source": "robot", "message": "x"}, {"message": "x"}, "text"])
def test_an_entry_of_an_unknown_source_refuses_the_trajectory(entry: Any):
    document = atif_terminal()
    document["steps"].append(entry)
    (piece,) = read_document(document)
    assert isinstance(piece, Refusal)
