"""The real traces: the importers meet exactly the counts that were taken by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tracelake.lake import Lake
from tracelake.producers.harvest import harvest
from tracelake.producers.importers.import_sources import import_sources
from tracelake.producers.importers.report import ImportReport

pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def imported(
    tmp_path_factory: pytest.TempPathFactory, real_traces: Callable[[str], Path]
) -> Callable[[str], tuple[Lake, ImportReport]]:
    """Imports each source once into a new lake and projects it."""
    done: dict[str, tuple[Lake, ImportReport]] = {}

    def of(source: str) -> tuple[Lake, ImportReport]:
        folder = real_traces(source)
        if source not in done:
            lake = Lake.create(str(tmp_path_factory.mktemp("lake") / source))
            report = import_sources(lake, [folder])
            lake.project()
            done[source] = (lake, report)
        return done[source]

    return of


def test_mini_swe_agent(imported):
    lake, report = imported("mini-swe-agent-pr816")
    assert (report.files, report.rollouts) == (128, 128)
    assert (report.turns, report.other_turns, report.tool_results) == (10_551, 0, 10_423)
    assert round(report.cost_usd or 0, 6) == 8.573450
    assert (report.refused, report.conflicts) == ([], 0)
    turns = lake.scan("turn_completed")
    sums = turns.select(pl.sum("prompt_token_count", "completion_token_count", "cost_usd")).collect()
    assert sums["prompt_token_count"][0] == 232_534_864
    assert sums["completion_token_count"][0] == 2_274_559
    assert round(sums["cost_usd"][0], 6) == 8.573450
    assert turns.select("system_fingerprint").unique().collect().height == 3


def test_mini_swe_agent_rewards_come_from_the_verifiers_logs(imported):
    lake, report = imported("mini-swe-agent-pr816")
    rewards = lake.scan("reward_assigned").collect()
    by_evaluation = rewards.group_by("grader_version").agg(pl.len(), pl.sum("score")).sort("grader_version")
    assert by_evaluation["grader_version"].to_list() == [
        "deepseek_bench1_eval",
        "deepseek_bench_eval",
        "deepseek_chat_dev_rerun",
        "deepseek_lite_dev",
    ]
    assert by_evaluation["len"].to_list() == [59, 23, 23, 23]
    assert rewards["rollout_id"].n_unique() == 128
    assert report.rewards == rewards["score"].sum()


def test_mini_swe_agent_of_the_first_version(imported):
    _, report = imported("mini-swe-agent-head")
    assert (report.rollouts, report.turns, report.refused) == (2, 12, [])


def test_verifiers(imported):
    lake, report = imported("verifiers")
    assert (report.rollouts, report.turns, report.other_turns) == (1_213, 3_894, 15)
    assert report.tool_results == 2_667
    assert round(report.rewards, 4) == 928.6004
    assert len(report.refused) == 39
    assert len({piece.path for piece in report.refused}) == 13
    assert all("git-lfs pointer" in piece.reason for piece in report.refused)
    assert lake.scan("turn_completed").select(pl.sum("tool_call_count")).collect().item() == 2_763
    assert lake.scan("event_rejected").collect().height == 39
    started = lake.scan("rollout_started").collect()
    assert started["model_requested"].null_count() == 0
    assert started["source_uri"].n_unique() == 36


def test_verifiers_questions_are_joined_over_the_runs(imported):
    lake, _ = imported("verifiers")
    wiki = lake.scan("rollout_started").filter(environment="wiki-search").collect()
    models = wiki.group_by("task_key").agg(
        pl.col("model_requested").str.to_lowercase().n_unique().alias("models")
    )
    counts = dict(models["models"].value_counts().iter_rows())
    assert (counts[6], counts[5]) == (50, 50)


def test_several_models_answered_at_one_state(imported):
    lake, _ = imported("verifiers")
    turns = lake.scan("turn_completed").rename({"model_requested": "model"}).collect()
    models: dict[str, set[str]] = {}
    for answer in harvest(turns):
        models.setdefault(answer.state_key, set()).add(answer.teacher.lower())
    assert sum(len(found) >= 4 for found in models.values()) >= 150
    assert sum(len(found) >= 5 for found in models.values()) >= 100


def test_tau_bench(imported):
    _, report = imported("tau-bench")
    assert (report.files, report.rollouts, report.turns) == (1, 200, 2_454)
    assert (report.tool_results, report.rewards, report.refused) == (1_164, 84.0, [])


def test_swe_agent(imported):
    lake, report = imported("swe-agent")
    assert (report.rollouts, report.turns, report.tool_results) == (19, 173, 173)
    (refusal,) = report.refused
    assert refusal.path.endswith("function_calling_simple.traj")
    assert report.skipped["no known trace format"] == 19
    assert lake.scan("rollout_started").collect()["rollout_id"].n_unique() == 19


def test_state_keys_fold_from_the_stored_messages(imported):
    """The context that the turns store, folded, hashes to the state that they state."""
    import json

    from tracelake.schemas.message import StateHasher

    for source in ("swe-agent", "tau-bench"):
        lake, _ = imported(source)
        turns = lake.scan("turn_completed").sort("rollout_id", "turn_index").collect()
        contexts: dict[tuple[str, int], list] = {}
        for turn in turns.iter_rows(named=True):
            above = contexts.get((turn["rollout_id"], turn["parent_turn_index"]), [])
            context = [*above, *json.loads(turn["new_messages_json"])]
            hasher = StateHasher()
            for message in context:
                hasher.add(message)
            assert (hasher.key(), hasher.context_length) == (turn["state_key"], turn["context_length"])
            contexts[turn["rollout_id"], turn["turn_index"]] = [*context, json.loads(turn["action_json"])]


def test_every_real_source_again_is_all_duplicates(imported, real_traces):
    for source in ("verifiers", "tau-bench", "swe-agent", "mini-swe-agent-head"):
        lake, first = imported(source)
        again = import_sources(lake, [real_traces(source)])
        assert (again.new_events, again.conflicts) == (0, 0)
        assert again.duplicate_events == first.new_events
