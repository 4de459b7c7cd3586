"""SWE-bench reports found in an import: rewards for the rollouts that they certainly grade.

The harness writes `run_evaluation/EVALUATION/MODEL/INSTANCE/report.json` with the graded `patch.diff`, and
one summary `MODEL.RUN.json` for a run.

Flow: `instance_reports_in` each file that is no trace → `rewards_from` the reports and the submissions of the
import.

**A report belongs to a run if the graded patch equals the submitted patch** for every instance that the
evaluation and the run share; white space at line ends is ignored, because harnesses strip it. If the graded
patch is missing, the names of the evaluation and of the run must be equal.
**A summary belongs to the run of its name in its own folder**, and counts only if no report grades the
instance.
**What the harness could not grade is unresolved**: an empty patch, and one that ended in an error, score 0.
**Two evaluations of one run are two rewards** with different `grader_version`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from tracelake.producers.importers.conversion.fields import flag
from tracelake.producers.importers.importer import Submission, well_formed
from tracelake.producers.importers.source import Source
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.events.rollout_events import RewardAssigned

GRADER = "swebench"
PATCH = "patch.diff"
REPORT_FORMAT = "SWE-bench report"
SUMMARY_LISTS = (
    ("resolved_ids", True),
    ("unresolved_ids", False),
    ("empty_patch_ids", False),
    ("error_ids", False),
)

_SUMMARY_NAME = re.compile(r".+?\.(?P<run>.+)\.json")
_SUMMARY_DETAILS = canonical_text({"source": "summary of the run"})


class InstanceReport(NamedTuple):
    """The grade that one file gives to one instance."""

    evaluation: str
    instance_id: str
    resolved: bool | None
    uri: str
    sha256: str
    summary_folder: str
    """Folder of the summary; empty for a report."""
    details_json: str | None = None
    patch_digest: str | None = None
    """Of the patch that was graded; null if it does not lie next to the report."""


class ReportedReward(NamedTuple):
    """A reward and the file that it was read from."""

    event: RewardAssigned
    uri: str
    sha256: str


def instance_reports_in(source: Source) -> list[InstanceReport]:
    """All grades in a report or summary; empty if the file is neither."""
    document = source.document
    if not isinstance(document, dict):
        return []
    if {"resolved_ids", "unresolved_ids"} <= document.keys():
        return _in_summary(source, document)
    return [
        _in_report(source, instance_id, entry)
        for instance_id, entry in document.items()
        if isinstance(entry, dict) and "resolved" in entry and "patch_exists" in entry
    ]


def _in_report(source: Source, instance_id: str, entry: dict[str, Any]) -> InstanceReport:
    patch = source.sibling(PATCH)
    return InstanceReport(
        evaluation=source.parts[-4] if len(source.parts) > 3 else "",
        instance_id=well_formed(instance_id),
        resolved=flag(entry.get("resolved"), "resolved"),
        uri=source.uri,
        sha256=source.sha256(),
        summary_folder="",
        details_json=canonical_text(entry),
        patch_digest=None if patch is None else _patch_digest(patch.decode("utf-8", "replace")),
    )


def _in_summary(source: Source, document: dict[str, Any]) -> list[InstanceReport]:
    match = _SUMMARY_NAME.fullmatch(source.name)
    if match is None:
        return []
    folder = "/".join(source.parts[:-1])
    return [
        InstanceReport(
            match["run"], instance_id, resolved, source.uri, source.sha256(), folder, _SUMMARY_DETAILS
        )
        for name, resolved in SUMMARY_LISTS
        for instance_id in document.get(name) or []
        if isinstance(instance_id, str)
    ]


def rewards_from(
    reports: Iterable[InstanceReport], submissions: Iterable[Submission]
) -> list[ReportedReward]:
    """Rewards in the order of the submissions."""
    # Reports of one evaluation by instance; the folder above separates equal names in two trees.
    evaluations: dict[tuple[str, str], dict[str, InstanceReport]] = {}
    summaries: dict[tuple[str, str, str], InstanceReport] = {}
    for report in reports:
        if report.summary_folder:
            summaries[report.summary_folder, report.evaluation, report.instance_id] = report
        else:
            above = "/".join(report.uri.split("/")[:-4])
            evaluations.setdefault((above, report.evaluation), {})[report.instance_id] = report
    runs: dict[tuple[str, str], dict[str, Submission]] = {}
    for submission in submissions:
        runs.setdefault((submission.root, submission.run), {})[submission.instance_id] = submission
    rewards: list[ReportedReward] = []
    for (root, run), by_instance in runs.items():
        graded = [each for each in evaluations.values() if _grades(each, by_instance)]
        for instance_id, submission in by_instance.items():
            found = [evaluation[instance_id] for evaluation in graded if instance_id in evaluation]
            summary = summaries.get((root, run, instance_id))
            if not found and summary is not None:
                found = [summary]
            rewards += [_reward(submission, report) for report in found]
    return rewards


def _grades(evaluation: dict[str, InstanceReport], submissions: dict[str, Submission]) -> bool:
    """Whether an evaluation graded this run: all instances that both have agree."""
    shared = sorted(evaluation.keys() & submissions.keys())
    return bool(shared) and all(
        _is_graded_patch(evaluation[instance_id], submissions[instance_id]) for instance_id in shared
    )


def _is_graded_patch(report: InstanceReport, submission: Submission) -> bool:
    if report.patch_digest is None:
        return report.evaluation == submission.run
    return report.patch_digest == _patch_digest(submission.patch)


def _patch_digest(patch: str) -> str:
    """Equal for patches that differ only in white space at the ends of lines."""
    stripped = "\n".join(line.rstrip() for line in patch.splitlines()).strip()
    return hashlib.sha256(stripped.encode("utf-8", "replace")).hexdigest()


def _reward(submission: Submission, report: InstanceReport) -> ReportedReward:
    event = RewardAssigned(
        rollout_id=submission.rollout_id,
        name="reward",
        score=None if report.resolved is None else float(report.resolved),
        grader=GRADER,
        grader_version=report.evaluation,
        details_json=report.details_json,
    )
    return ReportedReward(event, report.uri, report.sha256)
