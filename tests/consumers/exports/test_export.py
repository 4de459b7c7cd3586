"""What an export refuses, and that a refused or interrupted one leaves nothing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.consumers.exports import export_lake as lakes
from tests.traces import rollout
from tracelake.consumers.exports import export as exports
from tracelake.consumers.exports.export import export
from tracelake.consumers.exports.output_folder import new_folder
from tracelake.consumers.exports.secret_gate import search_files
from tracelake.lake import Lake
from tracelake.schemas.errors import BadInputError, PinMissingError, SecretFoundError


def is_untouched(folder: Path) -> bool:
    return list(folder.iterdir()) == []


def fake_key() -> str:
    """Drawn at run time: no file of the project contains a text that looks like a key."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    return "gh" + "p_" + "".join(random.Random(7).choices(letters, k=36))


def test_answers_are_withheld_until_their_teacher_is_named(lake: Lake, tmp_path: Path) -> None:
    without = export(lake, "pairs", "trl-dpo", tmp_path / "without")
    assert sum(each.pair_count for each in without.withheld) == 4
    named = export(lake, "pairs", "trl-dpo", tmp_path / "with", include_withheld=[lakes.CLOSED_TEACHER])
    assert {each.teacher for each in named.withheld} == {"teacher-c"}
    assert named.rows["L1"] == without.rows["L1"] + 1
    assert "yes, asked for by name" in (tmp_path / "with" / "README.md").read_text(encoding="utf-8")


def test_an_unknown_teacher_is_refused_with_the_known_ones(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"got nobody; expected a-open, b-closed, teacher-c"):
        export(lake, "pairs", "trl-dpo", tmp_path / "out", include_withheld=["nobody"])


def test_nothing_but_withheld_answers_is_an_error_that_names_the_teachers(tmp_path: Path) -> None:
    from tracelake.assets.build import build
    from tracelake.assets.derivations import BuildParameters

    lake = Lake.create(str(tmp_path / "lake"))
    with lake.writer("test") as writer:
        for model, command in {"student": "ls", "teacher-a": "cat", "teacher-b": "cat"}.items():
            writer.append(rollout(model, "q", command))
    build(lake, BuildParameters(student="student"))
    lake.pin("pairs", lakes.PAIR_TABLES)
    with pytest.raises(BadInputError, match="--include-withheld teacher-a"):
        export(lake, "pairs", "trl-dpo", tmp_path / "out" / "x")
    assert is_untouched(tmp_path / "out")


def test_unknown_pins_targets_and_missing_tables_are_clear(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(PinMissingError, match="no such pin"):
        export(lake, "nothing", "jsonl", tmp_path / "out")
    with pytest.raises(BadInputError, match="expected jsonl, hf, trl-dpo, trl-prompts, atif"):
        export(lake, "traces", "csv", tmp_path / "out")
    with pytest.raises(PinMissingError, match="--table rollout_started --table turn_completed"):
        export(lake, "pairs", "jsonl", tmp_path / "out")
    with pytest.raises(PinMissingError, match="--table training_rows"):
        export(lake, "traces", "trl-dpo", tmp_path / "out")
    assert is_untouched(tmp_path)


def test_tables_of_different_builds_are_refused(tmp_path: Path) -> None:
    lake = lakes.export_lake(str(tmp_path / "lake"))
    with lake.writer("late") as writer:
        writer.append(rollout("late", "q1", "ls"))
    lake.project()
    lake.pin("mixed", lakes.ROLLOUT_TABLES)
    with pytest.raises(BadInputError, match=r"derived from another version of .*tracelake build"):
        export(lake, "mixed", "jsonl", tmp_path / "out")


def test_a_folder_with_files_is_refused_and_an_empty_one_used(lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    export(lake, "traces", "jsonl", folder)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(BadInputError, match="must be new or empty"):
        export(lake, "traces", "jsonl", folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_an_interrupted_export_leaves_nothing(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    # The files are written, and the folder has no name yet.
    monkeypatch.setattr(exports, "search_files", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export(lake, "traces", "hf", tmp_path / "out")
    assert is_untouched(tmp_path)


def test_a_folder_filled_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    def fill_meanwhile() -> None:
        with new_folder(tmp_path / "out") as partial:
            (partial / "a").write_text("a")
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "b").write_text("b")

    with pytest.raises(BadInputError, match="must be new or empty"):
        fill_meanwhile()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b"]


@pytest.mark.parametrize("target", ["jsonl", "hf", "trl-prompts", "atif"])
def test_a_secret_that_was_allowed_in_a_pin_stops_every_export(
    tmp_path: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It is known only when the pin is exported: on import and in the pin it was a word like others.
    lake = lakes.export_lake(str(tmp_path / "lake"))
    monkeypatch.setenv("SOME_API_KEY", "You work in a shell.")
    with pytest.raises(SecretFoundError, match="may contain a secret") as caught:
        export(lake, "traces", target, tmp_path / "out" / "x")
    assert "You work" not in str(caught.value)
    assert is_untouched(tmp_path / "out")


def test_a_finding_is_named_by_file_and_line_and_can_be_allowed(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{}}\n{{"x": ["{fake_key()}"]}}\n')
    with pytest.raises(SecretFoundError, match=r"a\.jsonl/line 2/") as caught:
        search_files(tmp_path)
    assert fake_key() not in str(caught.value)
    rules = {part.split("/")[2] for part in str(caught.value).split("rule ")[1].split(";")[0].split(", ")}
    report = search_files(tmp_path, [f"a.jsonl/line 2/{rule}" for rule in rules])
    assert report.allowed_count == len(rules)


def test_rollouts_retracted_since_the_pin_are_named(tmp_path: Path) -> None:
    lake = lakes.export_lake(str(tmp_path / "lake"))
    lake.retract(lakes.LONG, reason="wrong task")
    report = export(lake, "traces", "jsonl", tmp_path / "out")
    assert report.retracted == (lakes.LONG,)
    assert "1 exported rollouts were retracted" in (tmp_path / "out" / "README.md").read_text(
        encoding="utf-8"
    )
