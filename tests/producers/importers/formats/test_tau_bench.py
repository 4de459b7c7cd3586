"""tau-bench: the elements of a results list."""

from __future__ import annotations

import json

from tests.producers.importers.samples import of_kind, read_document, tau
from tracelake.producers.importers.importer import ImportedRollout, Refusal

URI = "historical_trajectories/gpt-4o-airline.json"


def test_each_element_is_a_rollout_of_its_task_and_trial():
    pieces = read_document(tau(), URI)
    starts = [of_kind(piece, "rollout_started")[0] for piece in pieces]
    assert [(start.task_key, start.trial_index) for start in starts] == [
        (starts[0].task_key, 0),
        (starts[0].task_key, 1),
    ]
    assert starts[0].task_key.startswith("tau-bench:0-")
    assert starts[0].model_requested is None
    assert len({piece.rollout_id for piece in pieces}) == 2


def test_results_have_the_name_of_their_call():
    (result,) = of_kind(read_document(tau(), URI)[0], "tool_returned")
    assert (result.tool_name, result.tool_call_id) == ("get_user", "call-1")
    assert result.error == result.visible_output == "Error: user not found"


def test_the_reward_keeps_its_details():
    piece = read_document(tau(), URI)[0]
    (reward,) = of_kind(piece, "reward_assigned")
    assert (reward.name, reward.score, reward.grader) == ("reward", 1.0, "tau-bench")
    assert json.loads(reward.details_json) == {"reward": 1.0, "actions": []}
    assert (piece.reward, piece.reward_count) == (1.0, 1)


def test_the_users_goodbye_ends_the_rollout_and_is_stored():
    ended = of_kind(read_document(tau(), URI)[0], "rollout_ended")[0]
    assert (ended.stop_reason, ended.truncated) == ("completed", False)
    metrics = json.loads(ended.metrics_json)
    assert metrics["user_cost"] == 0.01
    assert metrics["messages_after_last_turn"] == [{"role": "user", "content": "###STOP###"}]


def test_a_rollout_without_reward_info_ran_out_of_turns():
    document = tau()
    document[0]["info"]["reward_info"] = None
    document[0]["traj"].pop()
    ended = of_kind(read_document(document, URI)[0], "rollout_ended")[0]
    assert (ended.stop_reason, ended.truncated_by) == ("max_turns", "max_turns")


def test_a_transfer_to_a_human_stops_by_the_tool():
    document = tau()
    document[0]["traj"] = document[0]["traj"][:4]
    document[0]["traj"][3]["name"] = "transfer_to_human_agents"
    piece = read_document(document, URI)[0]
    assert of_kind(piece, "rollout_ended")[0].stop_reason == "tool_stopped"
    (result,) = of_kind(piece, "tool_returned")
    assert (result.visible_output, result.raw_output) == ("Error: user not found", None)


def test_the_name_of_the_file_is_part_of_the_identity_and_no_fact():
    names = (
        "tool-calling-gpt-4o-0.0_range_0--1_1022210038.json",
        "tool-calling-claude-0.0_range_0--1_2.json",
    )
    one, other = (read_document(tau(), f"results/{name}") for name in names)
    starts = [of_kind(pieces[0], "rollout_started")[0] for pieces in (one, other)]
    assert starts[0].rollout_id != starts[1].rollout_id
    same = {"rollout_id": ""}
    assert starts[0].model_copy(update=same) == starts[1].model_copy(update=same)


def test_a_copy_of_the_file_has_the_same_rollouts():
    one, other = (read_document(tau(), f"{folder}/r.json") for folder in ("results", "copies/of/results"))
    assert [piece.events for piece in one] == [piece.events for piece in other]


def test_the_domain_comes_from_the_tasks_actions():
    document = tau()
    document[0]["info"]["task"]["actions"] = [{"name": "book_reservation", "kwargs": {}}]
    start = of_kind(read_document(document, URI)[0], "rollout_started")[0]
    assert start.environment == "tau-bench-airline"
    assert start.task_key.startswith("tau-bench-airline:0-")


def test_a_trial_that_died_is_a_rollout_without_turns_for_each_file():
    died = tau()[:1]
    died[0] |= {"traj": [], "reward": 0.0, "info": {"error": "timed out", "traceback": "Traceback"}}
    (first,), (second,) = (read_document(died, f"results/{name}.json") for name in ("one", "two"))
    assert first.rollout_id != second.rollout_id
    assert (first.turn_count, first.weak_identity) == (0, True)
    (ended,) = of_kind(first, "rollout_ended")
    assert (ended.stop_reason, ended.error) == ("error", "Traceback")


def test_a_broken_element_does_not_affect_its_neighbours():
    document = [*tau(), {"task_id": 1}, "words", {**tau()[0], "trial": 2, "traj": 5}]
    pieces = read_document(document, URI)
    assert [type(piece) for piece in pieces] == [ImportedRollout, ImportedRollout, Refusal, Refusal, Refusal]
    assert [piece.line for piece in pieces if isinstance(piece, Refusal)] == [3, 4, 5]
