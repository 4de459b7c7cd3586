"""tau2-bench: results files, and simulations in files of their own."""

from __future__ import annotations

import copy
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.producers.importers.samples import of_kind, read_bytes, read_document, rollout
from tests.producers.importers.samples_tau2 import tau2, tau2_index, tau2_simulation
from tracelake.lake import Lake
from tracelake.producers.importers.import_sources import import_sources
from tracelake.producers.importers.importer import ImportedRollout, Refusal
from tracelake.producers.importers.source import NoNeighbours, Source

SIMULATION_FILE = "runs/one/simulations/simulation-2.json"


class Index(NoNeighbours):
    """The folder of a run with an index."""

    def read(self, source: Source, name: str) -> bytes | None:
        return tau2_index() if name == "../results.json" else None


def changed(**fields: Any) -> ImportedRollout:
    document = tau2()
    document["simulations"][0] |= fields
    return rollout(document)


def test_a_simulation_is_a_rollout_of_its_task_under_its_own_id():
    started = of_kind(rollout(tau2()), "rollout_started")[0]
    assert (started.environment, started.model_requested) == ("tau2-bench-telecom", "gpt-4.1-mini")
    assert started.task_key.startswith("tau2-bench-telecom:bill_1-")
    assert json.loads(started.sampling_json) == {"temperature": 0.5}
    assert "num_trials" not in started.config_json
    tool = json.loads(started.tools_json)[0]["function"]
    assert (tool["name"], tool["description"], tool["parameters"]) == (
        "get_bill",
        "A bill.",
        {"type": "object"},
    )
    other = tau2()
    other["simulations"][0]["id"] = "another"
    assert rollout(other).rollout_id != rollout(tau2()).rollout_id


def test_the_policy_and_what_was_addressed_to_the_agent_are_its_context():
    turns = of_kind(rollout(tau2()), "turn_completed")
    assert [json.loads(turn.new_messages_json) for turn in turns] == [
        [{"role": "system", "content": "Be kind."}],
        [{"role": "user", "content": "My bill?"}],
        [{"role": "tool", "content": "Error: no bill", "tool_call_id": "c1"}],
    ]
    assert [turn.tool_call_count for turn in turns] == [0, 1, 0]


def test_the_greeting_has_no_model():
    greeting, first = of_kind(rollout(tau2()), "turn_completed")[:2]
    assert (greeting.model_requested, greeting.prompt_token_count) == (None, None)
    assert (first.model_requested, first.prompt_token_count, first.finish_reason) == (
        "gpt-4.1-mini",
        3571,
        "tool_calls",
    )
    assert (first.cost_usd, first.latency_ms) == (0.002, 1500.0)
    assert json.loads(first.action_json)["tool_calls"][0]["function"]["arguments"] == '{"all":true,"id":12}'


def test_a_call_of_the_user_is_no_turn_and_its_result_was_not_seen_by_the_agent():
    agents, users = of_kind(rollout(tau2()), "tool_returned")
    assert (agents.tool_name, agents.visible_output, agents.error) == (
        "get_bill",
        "Error: no bill",
        "Error: no bill",
    )
    assert (users.tool_name, users.visible_output, users.raw_output) == ("check_bar", None, "no signal")
    extra = json.loads(users.extra_json)
    assert extra["requestor"] == "user"
    assert extra["user_message"]["tool_calls"][0]["name"] == "check_bar"


def test_rewards_costs_and_the_end():
    piece = rollout(tau2())
    rewards = {event.name: event.score for event in of_kind(piece, "reward_assigned")}
    assert rewards == {"reward": 1.0, "DB": 1.0}
    ended = of_kind(piece, "rollout_ended")[0]
    assert (ended.stop_reason, ended.exit_status, ended.recording_length) == ("completed", "user_stop", 8)
    assert (ended.cost_usd, ended.duration_ms) == (0.003, 13_500)
    metrics = json.loads(ended.metrics_json)
    assert metrics["user_cost"] == 0.0012
    assert metrics["messages_after_last_turn"] == [{"role": "user", "content": "###STOP###"}]


def test_a_simulation_that_was_not_graded_has_no_reward():
    assert of_kind(changed(reward_info=None), "reward_assigned") == []


@pytest.mark.parametrize(
    ("reason", "ending"),
    [
        ("agent_stop", ("completed", False)),
        ("max_steps", ("max_turns", True)),
        ("timeout", ("timeout", True)),
        ("too_many_errors", ("error", True)),
        ("agent_error", ("error", None)),
        ("infrastructure_error", ("error", None)),
        ("context_window_exceeded", ("max_tokens", True)),
        ("another_error", ("error", None)),
        ("something_new", ("unknown", None)),
    ],
)
def test_each_termination_has_a_stop_reason(reason: str, ending: tuple[str, bool | None]):
    ended = of_kind(changed(termination_reason=reason), "rollout_ended")[0]
    assert (ended.stop_reason, ended.truncated, ended.exit_status) == (*ending, reason)


def test_a_simulation_that_failed_before_its_first_call_has_no_turns():
    piece = changed(
        messages=None,
        termination_reason="infrastructure_error",
        info={"error": "no network"},
        reward_info=None,
    )
    ended = of_kind(piece, "rollout_ended")[0]
    assert (piece.turn_count, ended.stop_reason, ended.error) == (0, "error", "no network")


def test_a_cost_of_nothing_for_tokens_is_unknown():
    document = tau2()
    simulation = document["simulations"][0]
    simulation["agent_cost"] = 0.0
    for message in simulation["messages"]:
        if "cost" in message:
            message["cost"] = 0.0
    piece = rollout(document)
    assert [turn.cost_usd for turn in of_kind(piece, "turn_completed")] == [0.0, None, None]
    assert piece.cost_usd is None


def test_ticks_are_messages_in_the_order_of_time():
    (piece,) = read_bytes(json.dumps(tau2_simulation()).encode(), SIMULATION_FILE, None, Index())
    assert isinstance(piece, ImportedRollout)
    turns = of_kind(piece, "turn_completed")
    assert [json.loads(turn.action_json)["content"] for turn in turns] == ["Hi, how are you?", "I look."]
    assert json.loads(turns[1].new_messages_json) == [{"role": "user", "content": "My order is lost."}]
    (result,) = of_kind(piece, "tool_returned")
    assert (result.tool_name, result.visible_output) == ("find_order", '{"id": 7}')
    started = of_kind(piece, "rollout_started")[0]
    assert started.model_requested == "gpt-4.1-mini"


def test_a_simulation_without_its_index_has_no_model():
    piece = rollout(tau2_simulation(), SIMULATION_FILE)
    assert of_kind(piece, "rollout_started")[0].model_requested is None
    assert any("no results.json" in note for note in piece.losses.notes)


def test_ticks_without_words_are_refused():
    simulation = tau2_simulation()
    for tick in simulation["ticks"]:
        for key in ("agent_chunk", "user_chunk"):
            tick[key].pop("content", None)
        tick.pop("agent_tool_calls", None)
        tick.pop("agent_tool_results", None)
    (refusal,) = read_document(simulation, SIMULATION_FILE)
    assert isinstance(refusal, Refusal)
    assert "without words" in refusal.reason


def test_an_index_and_files_of_verdicts_are_refused_with_a_reason():
    (index,) = read_bytes(tau2_index(), "runs/one/results.json")
    (verdicts,) = read_document({"total_judged": 1, "agree_count": 1, "disagree_count": 0, "entries": [{}]})
    assert isinstance(index, Refusal)
    assert isinstance(verdicts, Refusal)
    assert "index of a run" in index.reason
    assert "a judge's verdicts" in verdicts.reason


def test_a_broken_simulation_does_not_affect_its_neighbours():
    document = tau2()
    broken = [{**copy.deepcopy(document["simulations"][0]), "messages": 5}, "words", {"id": "x"}]
    document["simulations"] += broken
    pieces = read_document(document)
    assert [type(piece) for piece in pieces] == [ImportedRollout, Refusal, Refusal, Refusal]
    assert [piece.line for piece in pieces if isinstance(piece, Refusal)] == [2, 3, 4]


def test_results_of_several_calls_in_one_message_are_results_of_their_own():
    document = tau2()
    messages = document["simulations"][0]["messages"]
    messages[3] = {"role": "tool", "tool_messages": [messages[3]], "turn_idx": 3}
    assert of_kind(rollout(document), "tool_returned") == of_kind(rollout(tau2()), "tool_returned")


def test_the_index_of_a_run_lies_in_the_folder_above_its_simulations(tmp_path: Path):
    run = tmp_path / "traces" / "run"
    (run / "simulations").mkdir(parents=True)
    (run / "results.json").write_bytes(tau2_index())
    (run / "simulations" / "simulation-2.json").write_text(json.dumps(tau2_simulation()))
    with zipfile.ZipFile(tmp_path / "traces.zip", "w") as archive:
        for file in ("run/results.json", "run/simulations/simulation-2.json"):
            archive.write(tmp_path / "traces" / file, file)
    lake = Lake.create(str(tmp_path / "lake"))
    report = import_sources(lake, [tmp_path / "traces"])
    assert (report.rollouts, [piece.reason[:18] for piece in report.refused]) == (1, ["the index of a run"])
    lake.project()
    assert lake.scan("rollout_started").collect()["model_requested"].to_list() == ["gpt-4.1-mini"]
    again = import_sources(lake, [tmp_path / "traces.zip"])
    assert (again.rollouts_by_outcome.known, again.conflicts) == (1, 0)
