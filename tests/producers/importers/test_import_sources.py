"""Importing into a lake: which files are found and refused, and that no fact is added twice."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import fsspec
import pytest

from tests.producers.importers.samples import INSTANCE, mini, mini_text, swe, tau, verifiers_row
from tracelake.lake import Lake
from tracelake.producers.importers.import_sources import Progress, import_sources
from tracelake.schemas.errors import SourceFormatError, SourceMissingError

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n"


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with a file of every format, and files that are no traces."""
    root = tmp_path / "traces"
    write(root / "output/run" / INSTANCE / f"{INSTANCE}.traj.json", mini())
    write(root / "old/a/b/local.traj.json", mini_text())
    write(root / "swe/run/one.traj", swe())
    write(root / "evals/wiki-search--gpt-5/7385/results.jsonl", json.dumps(verifiers_row()) + "\n")
    write(root / "evals/wiki-search--gpt-5/7385/metadata.json", {"env_id": "wiki-search", "model": "gpt-5"})
    write(root / "tau/gpt-4o-airline.json", tau())
    write(root / "preds.json", {"some": "predictions"})
    write(root / "calls.jsonl", '{"type": "request"}\n{"type": "response"}\n')
    write(root / "LICENSE", "MIT")
    return root


def event_counts(lake: Lake) -> dict[str, int]:
    return lake.project()


def test_a_folder_is_searched_and_each_format_is_recognised_by_content(fresh_lake: Lake, tree: Path):
    report = import_sources(fresh_lake, [tree])
    assert (report.files, report.rollouts, report.turns, report.other_turns) == (5, 6, 12, 0)
    assert (report.tool_results, report.rewards, report.rewards_count) == (7, 2.75, 5)
    assert report.cost_usd == pytest.approx(0.501)
    assert report.refused == []
    assert report.skipped == {
        "no known trace format": 2,
        "not the name of a trace": 1,
        "read together with a trace": 1,
    }
    assert {file.format for file in report.file_reports} == {
        "mini-swe-agent",
        "swe-agent",
        "verifiers",
        "tau-bench",
    }
    assert all(losses.not_carried for losses in report.losses.values())
    landed = event_counts(fresh_lake)
    assert landed["turn_completed"] == 12
    assert sum(landed.values()) == report.new_events


def test_the_same_import_again_is_all_duplicates(fresh_lake: Lake, tree: Path):
    first = import_sources(fresh_lake, [tree])
    again = import_sources(fresh_lake, [str(tree / "**/*"), tree])
    assert first.new_events > 0
    assert (again.new_events, again.duplicate_events, again.conflicts) == (0, first.new_events, 0)


def test_a_changed_file_under_the_same_identity_is_a_conflict(fresh_lake: Lake, tree: Path):
    path = tree / "output/run" / INSTANCE / f"{INSTANCE}.traj.json"
    import_sources(fresh_lake, [path])
    changed = mini()
    changed["messages"][3]["extra"]["raw_output"] = "tampered with"
    write(path, changed)
    report = import_sources(fresh_lake, [path])
    # Only the raw result differs: the turn that follows it saw the same text as before.
    assert (report.new_events, report.conflicts) == (0, 1)
    assert report.rollouts_by_outcome.in_conflict == 1
    [conflict] = report.conflict_list
    assert conflict.kind == "tool_returned"
    assert str(path) in conflict.files
    assert "tracelake conflicts" in (conflict.cure or "")
    assert conflict.differing


def test_a_report_in_the_same_import_becomes_the_reward(fresh_lake: Lake, tree: Path):
    logs = tree / "logs/run_evaluation/evaluation/model" / INSTANCE
    write(logs / "report.json", {INSTANCE: {"patch_exists": True, "resolved": True}})
    write(logs / "patch.diff", mini()["info"]["submission"].rstrip())
    report = import_sources(fresh_lake, [tree])
    by_format = {
        file.format: file for file in report.file_reports if file.path.endswith(f"{INSTANCE}.traj.json")
    }
    assert (by_format["mini-swe-agent"].rewards, by_format["mini-swe-agent"].rewards_count) == (1.0, 1)
    assert report.skipped["read together with a trace"] == 3
    fresh_lake.project()
    graded = fresh_lake.scan("reward_assigned").filter(grader="swebench").collect()
    assert graded["score"].to_list() == [1.0]
    assert graded["source_uri"][0].endswith("report.json")


def test_a_rollout_without_a_certain_report_is_noted(fresh_lake: Lake, tree: Path):
    logs = tree / "logs/run_evaluation/evaluation/model" / INSTANCE
    write(logs / "report.json", {INSTANCE: {"patch_exists": True, "resolved": True}})
    write(logs / "patch.diff", "another patch")
    report = import_sources(fresh_lake, [tree])
    assert report.notes == ["1 rollouts have no verifier report that is certainly theirs: no reward"]


def test_a_malformed_report_is_refused_and_its_neighbours_are_imported(fresh_lake: Lake, tree: Path):
    path = write(tree / "logs/report.json", {INSTANCE: {"patch_exists": True, "resolved": "perhaps"}})
    report = import_sources(fresh_lake, [tree])
    assert report.rollouts == 6
    assert [(piece.path, "wrong type in resolved" in piece.reason) for piece in report.refused] == [
        (str(path), True)
    ]


def test_metadata_of_the_same_run_is_found_where_an_archive_scattered_it(fresh_lake: Lake, tmp_path: Path):
    run = "evals/wiki-search--gpt-5/7385"
    write(tmp_path / "blob1" / run / "results.jsonl", json.dumps(verifiers_row()))
    write(tmp_path / "blob2" / run / "metadata.json", {"env_id": "wiki-search", "model": "gpt-5"})
    report = import_sources(fresh_lake, [tmp_path / "blob1", tmp_path / "blob2"])
    assert report.losses["verifiers"].notes == {}
    fresh_lake.project()
    assert fresh_lake.scan("turn_completed").collect()["model_requested"].unique().to_list() == ["gpt-5"]


def test_any_fsspec_address_can_be_imported(fresh_lake: Lake):
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/run/one.traj", json.dumps(swe()).encode())
    memory.pipe("/bucket/run/tau-airline.json", json.dumps(tau()).encode())
    assert import_sources(fresh_lake, ["memory://bucket/run"]).rollouts == 3
    assert import_sources(fresh_lake, ["memory://bucket/*/*.traj"]).duplicate_events > 0
    assert import_sources(fresh_lake, ["memory://bucket/run/one.traj"]).new_events == 0


def test_an_existing_file_is_read_even_if_its_name_looks_like_a_glob(fresh_lake: Lake, tmp_path: Path):
    path = write(tmp_path / "tau2:run [1].json", tau())
    assert import_sources(fresh_lake, [path]).rollouts == 2


def test_a_pointer_is_refused_line_by_line_and_recorded_in_the_lake(fresh_lake: Lake, tmp_path: Path):
    write(tmp_path / "a/b/c/results.jsonl", POINTER)
    report = import_sources(fresh_lake, [tmp_path])
    assert [piece.line for piece in report.refused] == [1, 2, 3]
    assert "git lfs pull" in report.refused[0].reason
    fresh_lake.project()
    rejected = fresh_lake.scan("event_rejected").collect().sort("line")
    assert rejected["source_name"].to_list() == ["b/c/results.jsonl"] * 3
    assert rejected["excerpt"][1] == "oid sha256:ab"
    assert report.files == 0


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (json.dumps(mini())[:-200], "not JSON text"),
        (b"", "empty file"),
        (b"\x1f\x8b\x08\x00rest", "compressed"),
        (bytes(range(256)), "not JSON text"),
        ("[" * 100_000, "not JSON text"),
        ('{"trajectory_format": "mini-swe-agent-1.1", "messages": "\\ud800"}', "not JSON text"),
        ('{"a": NaN}', "not JSON text"),
        ('{"some": "object"}', "keys some"),
        ("[1, 2]", "JSON int"),
        ({"trajectory_format": "mini-swe-agent-1.1", "messages": []}, "without messages"),
        ({"trajectory_format": "mini-swe-agent-1.1", "messages": [5]}, "wrong type in $.messages[]"),
    ],
)
def test_a_bad_file_is_refused_and_its_neighbours_are_imported(
    fresh_lake: Lake, tmp_path: Path, content: Any, reason: str
):
    bad = write(tmp_path / "bad.traj.json", content)
    good = write(tmp_path / "good.traj", swe())
    report = import_sources(fresh_lake, [bad, good])
    assert report.rollouts == 1
    (piece,) = report.refused
    assert piece.path == str(bad)
    assert reason in piece.reason
    assert event_counts(fresh_lake)["event_rejected"] == 1


def test_a_missing_path_among_others_is_reported(fresh_lake: Lake, tmp_path: Path):
    good = write(tmp_path / "good.traj", swe())
    (tmp_path / "empty").mkdir()
    report = import_sources(fresh_lake, [good, tmp_path / "none.json", tmp_path / "empty", "no-such://x"])
    assert report.rollouts == 1
    assert [Path(piece.path).name for piece in report.refused] == ["none.json", "empty", "x"]


def test_paths_without_any_file_are_an_error(fresh_lake: Lake, tmp_path: Path):
    with pytest.raises(SourceMissingError, match=r"nowhere\.json"):
        import_sources(fresh_lake, [tmp_path / "nowhere.json"])


def test_an_unknown_format_is_an_error_that_names_the_known_ones(fresh_lake: Lake, tree: Path):
    with pytest.raises(SourceFormatError, match="swe-agent"):
        import_sources(fresh_lake, [tree], format="sweagent")


def test_a_named_format_refuses_other_files_and_says_what_they_look_like(fresh_lake: Lake, tree: Path):
    report = import_sources(fresh_lake, [tree / "tau/gpt-4o-airline.json"], format="swe-agent")
    assert "looks like tau-bench" in report.refused[0].reason
    report = import_sources(fresh_lake, [tree], format="tau-bench")
    assert (report.rollouts, report.refused) == (2, [])


def test_progress_is_reported_after_each_file(fresh_lake: Lake, tree: Path):
    seen: list[Progress] = []
    import_sources(fresh_lake, [tree], on_progress=seen.append)
    done = [progress.done_count for progress in seen]
    assert (sorted(done), set(done)) == (done, set(range(1, 9)))
    assert {progress.total_count for progress in seen} == {8}
    assert seen[-1].rollout_count == 6
    assert seen[-1].done_bytes == seen[-1].total_bytes > 0


def test_a_stopped_import_lands_what_it_read_and_continues(fresh_lake: Lake, tree: Path):
    seen = [0]
    stopped = import_sources(
        fresh_lake,
        [tree],
        on_progress=lambda progress: seen.append(progress.rollout_count),
        should_stop=lambda: seen[-1] > 0,
    )
    assert stopped.interrupted
    assert stopped.files_left > 0
    assert 0 < stopped.rollouts < 6
    assert sum(event_counts(fresh_lake).values()) == stopped.new_events
    again = import_sources(fresh_lake, [tree])
    assert (again.rollouts, again.duplicate_events) == (6, stopped.new_events)
    assert import_sources(fresh_lake, [tree]).new_events == 0


def test_a_dry_run_counts_everything_and_writes_nothing(fresh_lake: Lake, tree: Path):
    before = event_counts(fresh_lake)
    dry = import_sources(fresh_lake, [tree], dry_run=True)
    assert event_counts(fresh_lake) == before
    real = import_sources(fresh_lake, [tree])
    assert dry.model_dump(exclude={"dry_run"}) == real.model_dump(exclude={"dry_run"})
    again = import_sources(fresh_lake, [tree], dry_run=True)
    assert (again.new_events, again.duplicate_events) == (0, real.new_events)


def test_files_that_were_not_read_are_named(fresh_lake: Lake, tree: Path):
    report = import_sources(fresh_lake, [tree])
    assert {Path(each.path).name for each in report.unread} == {"preds.json", "calls.jsonl", "LICENSE"}


def test_collection_is_switched_on_again_even_after_an_error(fresh_lake: Lake, tree: Path):
    def interrupt(progress: Progress) -> None:
        assert not gc.isenabled()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_sources(fresh_lake, [tree], on_progress=interrupt)
    assert gc.isenabled()
