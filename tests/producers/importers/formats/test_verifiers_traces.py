"""verifiers v1 and PRIME-RL: episodes and traces as message graphs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.producers.importers.samples import as_lines, of_kind, read_bytes
from tests.producers.importers.samples_verifiers_traces import (
    effective_trace,
    episode,
    old_trace,
    trace,
)
from tracelake.producers.importers.importer import ImportedRollout, Refusal
from tracelake.schemas.events.event import event_identity
from tracelake.schemas.tokens import TOKEN_COLUMNS, PromptFold

ALL = "run/rollouts/step_5/train/all/traces.jsonl"
EFFECTIVE = "run/rollouts/step_5/train/effective/traces.jsonl"


def pieces(*lines: Any, uri: str = ALL) -> list[ImportedRollout | Refusal]:
    return read_bytes(as_lines(list(lines)), uri)


def only(*lines: Any, uri: str = ALL) -> ImportedRollout:
    (piece,) = pieces(*lines, uri=uri)
    assert isinstance(piece, ImportedRollout), piece
    return piece


def groups(line: Any) -> list[str | None]:
    imported = [piece for piece in pieces(line) if isinstance(piece, ImportedRollout)]
    return [of_kind(piece, "rollout_started")[0].group_id for piece in imported]


def test_a_rollout_knows_task_run_group_policy_and_tools():
    (start,) = of_kind(only(episode(trace())), "rollout_started")
    assert (start.task_key, start.environment) == ("wiki-search:7", "wiki-search")
    assert (start.substrate, start.substrate_version) == ("verifiers", "0.4.0")
    assert (start.source_run, start.group_id, start.policy_version) == ("run-a", "g1", 4)
    assert start.model_requested == "qwen3-4b"
    assert json.loads(start.tools_json)[0]["function"]["name"] == "search"
    assert json.loads(start.config_json)["episode_id"] == "e1"
    assert "sk-very-secret" not in start.config_json


def test_only_sampled_nodes_are_turns_and_branches_share_theirs():
    turns = of_kind(only(episode(trace())), "turn_completed")
    assert [(turn.turn_index, turn.parent_turn_index) for turn in turns] == [(0, None), (1, 0), (2, None)]
    assert [message["role"] for message in json.loads(turns[2].new_messages_json)] == [
        "system",
        "user",
        "user",
    ]
    assert turns[0].policy_version_start == turns[0].policy_version_end == 4


def test_a_turn_has_the_usage_of_its_call_with_cached_tokens_added():
    turn = of_kind(only(episode(trace())), "turn_completed")[0]
    assert (turn.prompt_token_count, turn.cached_token_count, turn.completion_token_count) == (24, 4, 3)
    assert (turn.finish_reason, turn.cost_usd, turn.latency_ms) == ("tool_calls", 0.001, 500.0)
    assert json.loads(turn.action_json)["reasoning_content"] == "Hm."


def test_token_ids_fold_to_the_prompts_of_the_paths():
    turns = of_kind(only(episode(trace())), "turn_completed")
    rows = [tuple(getattr(turn, name) for name in TOKEN_COLUMNS) for turn in turns]
    fold = PromptFold(rows)
    prompts = [list(fold.prompt(turns[0].rollout_id, index).ids or ()) for index in range(3)]
    assert prompts == [[1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 10, 11, 6, 7, 5], [1, 2, 3, 4, 8, 5]]
    assert list(turns[0].completion_ids) == [10, 11]
    assert turns[0].logprob_source == "rounded_4dp"


def test_a_result_belongs_to_its_call():
    (result,) = of_kind(only(episode(trace())), "tool_returned")
    assert (result.turn_index, result.tool_name, result.visible_output) == (0, "search", "the Argo")


def test_the_total_is_the_weighted_sum_and_each_component_has_its_weight():
    piece = only(episode(trace()))
    rewards = {reward.name: (reward.score, reward.weight) for reward in of_kind(piece, "reward_assigned")}
    assert rewards == {
        "reward": (pytest.approx(0.9), None),
        "correct": (1.0, 0.8),
        "format": (0.5, 0.2),
        "searches": (1.0, None),
        "metrics.format": (2.0, None),
    }


def test_what_was_not_scored_is_null():
    piece = only(episode(trace(rewards={"correct": None})))
    assert [reward.score for reward in of_kind(piece, "reward_assigned")[:2]] == [None, None]


def test_a_call_without_a_reply_and_the_graders_usage_are_metrics():
    (ended,) = of_kind(only(episode(trace())), "rollout_ended")
    metrics = json.loads(ended.metrics_json)
    assert [each["error"]["message"] for each in metrics["calls_without_reply"]] == ["busy"]
    assert metrics["extra_usage"] == [{"prompt_tokens": 5, "completion_tokens": 1}]
    assert (ended.stop_reason, ended.submission, ended.duration_ms) == ("completed", "Argo", 8000.0)


def test_both_recordings_of_a_trace_are_one_rollout_and_advantages_are_facts_of_their_own():
    arrived = only(episode(trace()))
    chosen = only(episode(effective_trace()), uri=EFFECTIVE)
    ids = {event_identity(event).key_hash: event_identity(event).event_id for event in arrived.events}
    later = {event_identity(event).key_hash: event_identity(event).event_id for event in chosen.events}
    assert ids.items() <= later.items()
    rewards: list[Any] = of_kind(chosen, "reward_assigned")
    new = [event for event in rewards if event_identity(event).key_hash not in ids]
    assert [(event.turn_index, event.name, event.score) for event in new] == [
        (0, "advantages", 0.5),
        (1, "advantages", -0.5),
        (0, "reference_logprobs", -0.5),
        (1, "loss_weights.echo", 0.5),
        (None, "effective", 1.0),
    ]
    assert json.loads(new[2].details_json) == {"by_node": {"2": [-0.25, -0.75]}}


def test_agents_of_one_episode_are_rollouts_of_their_own_groups():
    solver, grader = trace("t1"), trace("t2")
    grader["agent"]["name"] = "judge"
    assert groups(episode(solver, grader)) == ["g1/agent", "g1/judge"]
    assert groups(episode(solver, grader, group=None)) == ["e1", "e1"]


def test_a_bare_trace_of_an_old_version_has_weighted_rewards_and_exact_logprobs():
    piece = only(old_trace(), uri="out/traces.jsonl")
    (start,) = of_kind(piece, "rollout_started")
    assert (start.environment, start.source_run, start.group_id) == ("WikiTask", "run-old", None)
    assert piece.reward == pytest.approx(0.9)
    assert of_kind(piece, "turn_completed")[0].logprob_source == "sampler"
    (ended,) = of_kind(piece, "rollout_ended")
    assert (ended.stop_reason, ended.truncated, ended.duration_ms) == ("max_turns", True, 2000.0)


def test_an_episode_that_failed_before_its_first_trace_is_a_rollout_of_zero_turns():
    error = {"type": "EnvError", "message": "no box", "status_code": 503, "traceback": "Traceback: x"}
    piece = only(episode(ok=False, errors=[error]))
    (ended,) = of_kind(piece, "rollout_ended")
    assert (ended.stop_reason, ended.turn_count) == ("error", 0)
    assert ended.error == "EnvError: no box (HTTP 503)\nTraceback: x"


def test_an_error_ends_a_trace():
    error = {"type": "SandboxError", "message": "gone"}
    piece = only(episode(trace(ok=False, errors=[error], stop_condition="sandbox_error", nodes=[], calls=[])))
    (ended,) = of_kind(piece, "rollout_ended")
    assert (ended.stop_reason, ended.exit_status, ended.error) == (
        "error",
        "sandbox_error",
        "SandboxError: gone",
    )


@pytest.mark.parametrize("parent", [6, 99, -1, "x"])
def test_a_graph_that_is_no_tree_costs_its_trace_and_no_other(parent: Any):
    broken = trace("t2")
    broken["nodes"][6]["parent"] = parent
    first, second = pieces(episode(trace(), broken))
    assert isinstance(first, ImportedRollout)
    assert isinstance(second, Refusal)
