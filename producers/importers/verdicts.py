"""SWE-bench verdicts that lie beside the rollouts: joined to them only where the match is certain.

The harness keeps `run_evaluation/EVALUATION/MODEL/INSTANCE/report.json` with the graded `patch.diff`, and one
summary `MODEL.RUN.json` for a run.

**A report belongs to a rollout if the graded patch is the one that the rollout handed in**, for every
instance that the evaluation and the run share; white space at line ends aside, which harnesses strip. Without
a kept patch the names of the evaluation and of the run must be equal.
**A summary belongs to the run of its name in its own folder**, and speaks only where no report does.
**Two evaluations of one run are two rewards**, told apart by `grader_version`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from tracelake.producers.importers.fields import flag
from tracelake.producers.importers.source import HandedIn, Opened, well_formed
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.events.rollout_events import RewardAssigned

GRADER = "swebench"
PATCH = "patch.diff"

_SUMMARY_NAME = re.compile(r".+?\.(?P<run>.+)\.json")


class Verdict(NamedTuple):
    """What one file says about one instance."""

    evaluation: str
    instance_id: str
    resolved: bool | None
    uri: str
    sha256: str
    root: str
    """Folder that a summary lies in; empty for a report."""
    details_json: str | None = None

    @property
    def folder(self) -> str:
        return self.uri.rsplit("/", 1)[0]


class Given(NamedTuple):
    """A reward and the file that it was read from."""

    event: RewardAssigned
    uri: str
    sha256: str


def verdicts_in(opened: Opened) -> list[Verdict]:
    """Verdicts of a report or summary; none if the file is neither."""
    document = opened.document
    if not isinstance(document, dict):
        return []
    if {"resolved_ids", "unresolved_ids"} <= document.keys():
        return _of_summary(opened, document)
    return [
        _of_report(opened, name, entry)
        for name, entry in document.items()
        if isinstance(entry, dict) and "resolved" in entry and "patch_exists" in entry
    ]


def rewards_of(
    handed_in: Iterable[HandedIn], verdicts: Iterable[Verdict], patch_of: Callable[[str], bytes | None]
) -> list[Given]:
    """Rewards in the order of the rollouts; `patch_of` reads the graded patch in a report's folder."""
    reports = _by_evaluation(verdict for verdict in verdicts if not verdict.root)
    summaries = {(v.root, v.evaluation, v.instance_id): v for v in verdicts if v.root}
    given: list[Given] = []
    for (root, run), rollouts in _by_run(handed_in).items():
        own = [report for report in reports.values() if _belongs(report, rollouts, run, patch_of)]
        for instance_id, rollout in rollouts.items():
            told = [report[instance_id] for report in own if instance_id in report]
            summary = summaries.get((root, run, instance_id))
            for verdict in told or ([summary] if summary else []):
                given.append(_given(rollout, verdict))
    return given


def _belongs(
    report: dict[str, Verdict],
    rollouts: dict[str, HandedIn],
    run: str,
    patch_of: Callable[[str], bytes | None],
) -> bool:
    shared = report.keys() & rollouts.keys()
    return bool(shared) and all(
        _graded(report[name], rollouts[name], run, patch_of) for name in sorted(shared)
    )


def _graded(verdict: Verdict, rollout: HandedIn, run: str, patch_of: Callable[[str], bytes | None]) -> bool:
    patch = patch_of(verdict.folder)
    if patch is None:
        return verdict.evaluation == run
    text = patch.decode("utf-8", "replace")
    return text == rollout.submission or _bare(text) == _bare(rollout.submission)


def _bare(patch: str) -> str:
    return "\n".join(line.rstrip() for line in patch.splitlines()).strip()


def _given(rollout: HandedIn, verdict: Verdict) -> Given:
    event = RewardAssigned(
        rollout_id=rollout.rollout_id,
        name="reward",
        score=None if verdict.resolved is None else float(verdict.resolved),
        grader=GRADER,
        grader_version=verdict.evaluation,
        details_json=verdict.details_json,
    )
    return Given(event, verdict.uri, verdict.sha256)


def _of_report(opened: Opened, instance_id: str, entry: dict[str, Any]) -> Verdict:
    source = opened.source
    evaluation = source.parts[-4] if len(source.parts) > 3 else ""
    resolved = flag(entry.get("resolved"), "resolved")
    return Verdict(
        evaluation, well_formed(instance_id), resolved, source.uri, source.sha256, "", canonical_text(entry)
    )


def _of_summary(opened: Opened, document: dict[str, Any]) -> list[Verdict]:
    source = opened.source
    named = _SUMMARY_NAME.fullmatch(source.parts[-1])
    if named is None:
        return []
    root = "/".join(source.parts[:-1])
    lists = (("resolved_ids", True), ("unresolved_ids", False), ("error_ids", None))
    return [
        Verdict(named["run"], instance_id, resolved, source.uri, source.sha256, root, _SUMMARY_DETAILS)
        for name, resolved in lists
        for instance_id in document.get(name) or []
        if isinstance(instance_id, str)
    ]


_SUMMARY_DETAILS = canonical_text({"source": "summary of the run"})


def _by_evaluation(reports: Iterable[Verdict]) -> dict[tuple[str, str], dict[str, Verdict]]:
    """Reports of one evaluation by instance; the folder above tells equal names in two trees apart."""
    result: dict[tuple[str, str], dict[str, Verdict]] = {}
    for verdict in reports:
        above = "/".join(verdict.uri.split("/")[:-4])
        result.setdefault((above, verdict.evaluation), {})[verdict.instance_id] = verdict
    return result


def _by_run(handed_in: Iterable[HandedIn]) -> dict[tuple[str, str], dict[str, HandedIn]]:
    result: dict[tuple[str, str], dict[str, HandedIn]] = {}
    for rollout in handed_in:
        result.setdefault((rollout.root, rollout.run), {})[rollout.instance_id] = rollout
    return result
