"""From recordings to derived tables: what must be there when every command reported success."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.producers.importers.samples import INSTANCE, as_lines, mini, verifiers_row
from tracelake.assets.build import build
from tracelake.assets.derivations import BuildParameters
from tracelake.lake import Lake
from tracelake.producers.importers.import_sources import import_sources
from tracelake.producers.importers.report import ImportReport


def imported(lake: Lake, *paths: Path) -> ImportReport:
    return import_sources(lake, [str(path) for path in paths])


def trajectories(lake: Lake) -> pl.DataFrame:
    build(lake, BuildParameters(student="gpt-5"))
    return lake.scan("trajectories").sort("rollout_id").collect()


def write(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(as_lines(rows))
    return path


def recording(length: int) -> dict[str, Any]:
    """The file of an agent that saves after each message, killed after `length` of them."""
    document = mini()
    if length < len(document["messages"]):
        document["messages"] = document["messages"][:length]
        document["info"] |= {"exit_status": "", "submission": ""}
    return document


@pytest.mark.parametrize("lengths", [(3, 6), (4, 6), (5, 6), (6, 3), (2, 4, 6)])
def test_the_longest_recording_of_a_rollout_counts_in_any_order(
    fresh_lake: Lake, tmp_path: Path, lengths: tuple[int, ...]
):
    for length in lengths:
        file = write(tmp_path / str(length) / "run" / INSTANCE / f"{INSTANCE}.traj.json", recording(length))
        assert imported(fresh_lake, file).conflicts == 0
    found = trajectories(fresh_lake)
    whole = found.filter(pl.col("turn_count") > 0).to_dicts()
    assert [(row["turn_count"], row["stop_reason"]) for row in whole] == [(2, "completed")]


def test_two_runs_with_one_layout_are_all_there(fresh_lake: Lake, tmp_path: Path):
    for run in ("A", "B"):
        for update in range(2):
            rows = [
                verifiers_row(
                    example_id=number, completion=[{"role": "assistant", "content": f"{run}{update}{number}"}]
                )
                for number in range(3)
            ]
            write_rows(tmp_path / f"run{run}" / "rollouts" / f"step_{update}" / "rollouts.jsonl", rows)
    report = imported(fresh_lake, tmp_path)
    assert (report.rollouts_by_outcome.new, report.conflicts) == (12, 0)
    assert trajectories(fresh_lake).height == 12


def test_a_resumed_run_adds_its_new_rows(fresh_lake: Lake, tmp_path: Path):
    rows = [verifiers_row(example_id=number) for number in range(4)]
    for name, count in (("first", 2), ("resumed", 4)):
        write_rows(tmp_path / name / "env--m" / "abcd" / "results.jsonl", rows[:count])
        write(
            tmp_path / name / "env--m" / "abcd" / "metadata.json",
            {"env_id": "env", "model": "m", "num_examples": count, "avg_reward": 1 / count},
        )
        report = imported(fresh_lake, tmp_path / name)
    assert (report.rollouts_by_outcome.new, report.rollouts_by_outcome.known, report.conflicts) == (2, 2, 0)
    assert trajectories(fresh_lake).height == 4


def test_a_copy_of_a_folder_and_an_archive_of_it_add_nothing(fresh_lake: Lake, tmp_path: Path):
    write(tmp_path / "out" / "run" / INSTANCE / f"{INSTANCE}.traj.json", mini())
    write_rows(tmp_path / "out" / "evals" / "env--m" / "r1" / "results.jsonl", [verifiers_row()])
    assert imported(fresh_lake, tmp_path / "out").rollouts_by_outcome.new == 2
    shutil.copytree(tmp_path / "out", tmp_path / "elsewhere" / "copied")
    shutil.make_archive(str(tmp_path / "packed"), "gztar", tmp_path / "out")
    for copy in (tmp_path / "elsewhere", tmp_path / "packed.tar.gz"):
        report = imported(fresh_lake, copy)
        assert (report.rollouts, report.new_events, report.conflicts) == (2, 0, 0)


def test_trials_that_died_before_their_first_call_count_as_failures(fresh_lake: Lake, tmp_path: Path):
    died = mini()
    died["messages"] = [*died["messages"][:2], died["messages"][-1]]
    died["info"] |= {"exit_status": "AuthenticationError", "submission": ""}
    for trial in range(4):
        write(tmp_path / f"trial{trial}" / INSTANCE / f"{INSTANCE}.traj.json", died)
    report = imported(fresh_lake, tmp_path)
    assert (report.rollouts_by_outcome.new, report.weak_identities) == (4, 4)
    found = trajectories(fresh_lake)
    assert found["stop_reason"].to_list() == ["error"] * 4
    assert found["turn_count"].to_list() == [0] * 4


def test_the_harness_scores_an_empty_patch_with_zero(fresh_lake: Lake, tmp_path: Path):
    for number, patch in enumerate(["diff --git a/x b/x\n+1\n", "diff --git a/x b/x\n+2\n", ""]):
        document = mini()
        document["instance_id"] = f"ep__{number}"
        document["info"]["submission"] = patch
        document["messages"][2]["extra"]["response"]["id"] = f"chat-{number}"
        document["messages"][-1]["extra"]["submission"] = patch
        write(tmp_path / "out" / "run1" / f"ep__{number}" / f"ep__{number}.traj.json", document)
    summary = {
        "resolved_ids": ["ep__0"],
        "unresolved_ids": ["ep__1"],
        "empty_patch_ids": ["ep__2"],
        "error_ids": [],
        "submitted_ids": ["ep__0", "ep__1", "ep__2"],
    }
    write(tmp_path / "openai__m.run1.json", summary)
    report = imported(fresh_lake, tmp_path)
    assert (report.rewards, report.rewards_count) == (1.0, 3)
    assert sorted(trajectories(fresh_lake)["reward"].to_list()) == [0.0, 0.0, 1.0]


def test_unknown_cost_is_null_in_the_report_and_in_the_table(fresh_lake: Lake, tmp_path: Path):
    report = imported(fresh_lake, write_rows(tmp_path / "run" / "results.jsonl", [verifiers_row()]))
    assert report.cost_usd is None
    assert trajectories(fresh_lake)["cost_usd"].to_list() == [None]


def test_the_same_task_is_one_task_in_files_of_any_name(fresh_lake: Lake, tmp_path: Path):
    from tests.producers.importers.samples import tau

    for name in ("tool-calling-a-0.0_range_0--1_1022.json", "tool-calling-b-0.0_range_0--1_1023.json"):
        write(tmp_path / name, tau())
    assert imported(fresh_lake, tmp_path).rollouts_by_outcome.new == 4
    assert trajectories(fresh_lake)["task_key"].n_unique() == 1
