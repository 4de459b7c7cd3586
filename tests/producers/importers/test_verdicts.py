"""SWE-bench verdicts: joined only where the match is certain."""

from __future__ import annotations

import json
from typing import Any

from tracelake.producers.importers.source import HandedIn, opened, source_file
from tracelake.producers.importers.verdicts import Verdict, rewards_of, verdicts_in

PATCH = "diff --git a/x b/x\n+fixed \n \n context\n"


def report(evaluation: str, instance: str, resolved: bool) -> list[Verdict]:
    uri = f"tree/logs/run_evaluation/{evaluation}/model/{instance}/report.json"
    entry = {instance: {"patch_exists": True, "resolved": resolved, "tests_status": {}}}
    return verdicts_in(opened(source_file(uri, json.dumps(entry).encode())))


def summary(run: str, root: str = "tree", **lists: Any) -> list[Verdict]:
    document = {"resolved_ids": [], "unresolved_ids": [], "error_ids": [], **lists}
    return verdicts_in(opened(source_file(f"{root}/deepseek.{run}.json", json.dumps(document).encode())))


def handed_in(run: str, instance: str, patch: str = PATCH) -> HandedIn:
    return HandedIn(f"{run}/{instance}", instance, "tree", run, patch)


def scores(given: list) -> dict[tuple[str, str], float | None]:
    return {(item.event.rollout_id, item.event.grader_version): item.event.score for item in given}


def test_a_report_belongs_to_the_run_whose_patches_it_graded():
    rollouts = [handed_in("run", "a"), handed_in("rerun", "a", "another patch")]
    graded = PATCH.replace(" \n", "\n").encode()
    given = rewards_of(rollouts, report("named_otherwise", "a", True), lambda folder: graded)
    assert scores(given) == {("run/a", "named_otherwise"): 1.0}
    assert given[0].uri.endswith("/a/report.json")
    assert json.loads(given[0].event.details_json)["patch_exists"] is True


def test_one_disagreement_unbinds_the_whole_evaluation():
    rollouts = [handed_in("run", "a"), handed_in("run", "b", "another patch")]
    verdicts = [*report("evaluation", "a", True), *report("evaluation", "b", True)]
    assert rewards_of(rollouts, verdicts, lambda folder: PATCH.encode()) == []


def test_without_the_graded_patch_the_names_must_be_equal():
    rollouts = [handed_in("run", "a"), handed_in("rerun", "a")]
    given = rewards_of(rollouts, report("run", "a", False), lambda folder: None)
    assert scores(given) == {("run/a", "run"): 0.0}


def test_two_evaluations_of_one_run_are_two_rewards():
    verdicts = [*report("first", "a", True), *report("second", "a", False)]
    given = rewards_of([handed_in("run", "a")], verdicts, lambda folder: PATCH.encode())
    assert scores(given) == {("run/a", "first"): 1.0, ("run/a", "second"): 0.0}


def test_a_summary_speaks_for_the_run_of_its_name_where_no_report_does():
    rollouts = [handed_in("run", "a"), handed_in("run", "b"), handed_in("run", "c")]
    lists = {"resolved_ids": ["a"], "unresolved_ids": ["b"], "error_ids": ["c"]}
    verdicts = [*summary("run", **lists), *report("run", "a", False)]
    given = rewards_of(rollouts, verdicts, lambda folder: PATCH.encode())
    assert scores(given) == {("run/a", "run"): 0.0, ("run/b", "run"): 0.0, ("run/c", "run"): None}


def test_a_summary_of_another_tree_or_run_says_nothing():
    verdicts = [*summary("run", "elsewhere", resolved_ids=["a"]), *summary("rerun", resolved_ids=["a"])]
    assert rewards_of([handed_in("run", "a")], verdicts, lambda folder: None) == []


def test_other_json_is_no_verdict():
    assert verdicts_in(opened(source_file("preds.json", b'{"a": {"model_patch": "x"}}'))) == []
    assert verdicts_in(opened(source_file("list.json", b"[1]"))) == []
