"""SWE-bench reports: they grade a rollout only if the match is certain."""

from __future__ import annotations

import json
from typing import Any

from tracelake.producers.importers.importer import Submission
from tracelake.producers.importers.source import Source, source_of_bytes
from tracelake.producers.importers.swebench_reports import InstanceReport, instance_reports_in, rewards_from

PATCH = "diff --git a/x b/x\n+fixed \n \n context\n"


class Graded:
    """The neighbour of a report: the patch that was graded."""

    def __init__(self, patch: bytes | None) -> None:
        self.patch = patch

    def read(self, source: Source, name: str) -> bytes | None:
        return self.patch if name == "patch.diff" else None


def report(
    evaluation: str, instance: str, resolved: bool, graded: bytes | None = PATCH.encode()
) -> list[InstanceReport]:
    uri = f"tree/logs/run_evaluation/{evaluation}/model/{instance}/report.json"
    entry = {instance: {"patch_exists": True, "resolved": resolved, "tests_status": {}}}
    return instance_reports_in(source_of_bytes(uri, json.dumps(entry).encode(), Graded(graded)))


def summary(run: str, root: str = "tree", **lists: Any) -> list[InstanceReport]:
    document = {"resolved_ids": [], "unresolved_ids": [], "error_ids": [], **lists}
    return instance_reports_in(source_of_bytes(f"{root}/deepseek.{run}.json", json.dumps(document).encode()))


def submission(run: str, instance: str, patch: str = PATCH) -> Submission:
    return Submission(f"{run}/{instance}", instance, "tree", run, patch, f"{run}/{instance}.traj.json")


def scores(rewards: list) -> dict[tuple[str, str], float | None]:
    return {(item.event.rollout_id, item.event.grader_version): item.event.score for item in rewards}


def test_a_report_belongs_to_the_run_whose_patches_it_graded():
    submissions = [submission("run", "a"), submission("rerun", "a", "another patch")]
    graded = PATCH.replace(" \n", "\n").encode()
    rewards = rewards_from(report("named_otherwise", "a", True, graded), submissions)
    assert scores(rewards) == {("run/a", "named_otherwise"): 1.0}
    assert rewards[0].uri.endswith("/a/report.json")
    assert json.loads(rewards[0].event.details_json)["patch_exists"] is True


def test_one_other_patch_excludes_the_whole_evaluation():
    submissions = [submission("run", "a"), submission("run", "b", "another patch")]
    reports = [*report("evaluation", "a", True), *report("evaluation", "b", True)]
    assert rewards_from(reports, submissions) == []


def test_without_the_graded_patch_the_names_must_be_equal():
    submissions = [submission("run", "a"), submission("rerun", "a")]
    rewards = rewards_from(report("run", "a", False, None), submissions)
    assert scores(rewards) == {("run/a", "run"): 0.0}


def test_two_evaluations_of_one_run_are_two_rewards():
    reports = [*report("first", "a", True), *report("second", "a", False)]
    rewards = rewards_from(reports, [submission("run", "a")])
    assert scores(rewards) == {("run/a", "first"): 1.0, ("run/a", "second"): 0.0}


def test_a_summary_grades_the_run_of_its_name_if_no_report_does():
    submissions = [submission("run", "a"), submission("run", "b"), submission("run", "c")]
    submissions.append(submission("run", "d", ""))
    lists = {"resolved_ids": ["a"], "unresolved_ids": ["b"], "error_ids": ["c"], "empty_patch_ids": ["d"]}
    reports = [*summary("run", **lists), *report("run", "a", False)]
    rewards = rewards_from(reports, submissions)
    assert scores(rewards) == {(f"run/{name}", "run"): 0.0 for name in "abcd"}


def test_a_summary_of_another_tree_or_run_is_ignored():
    reports = [*summary("run", "elsewhere", resolved_ids=["a"]), *summary("rerun", resolved_ids=["a"])]
    assert rewards_from(reports, [submission("run", "a")]) == []


def test_other_json_has_no_report():
    assert instance_reports_in(source_of_bytes("preds.json", b'{"a": {"model_patch": "x"}}')) == []
    assert instance_reports_in(source_of_bytes("list.json", b"[1]")) == []
