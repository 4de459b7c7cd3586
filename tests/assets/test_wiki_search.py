"""Real traces of six models on the same wiki-search questions: harvest, disagreement, pairs, a stable pin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tracelake.assets.build import build
from tracelake.assets.derivations import BuildParameters
from tracelake.lake import Lake
from tracelake.lake.tables.commits import open_table
from tracelake.producers.importers.import_sources import import_sources
from tracelake.schemas.pin import PinnedTable

pytestmark = pytest.mark.realdata

STUDENT = "qwen3-4b-instruct-2507"
PINNED = ("answers", "disagreement", "pair_outcomes", "preference_pairs", "training_rows")


def built_lake(folder: Path, traces: Path) -> tuple[Lake, dict[str, PinnedTable]]:
    lake = Lake.create(str(folder))
    import_sources(lake, [str(traces)])
    return lake, build(lake, BuildParameters(student=STUDENT))


@pytest.fixture(scope="module")
def wiki(
    real_traces: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Lake, dict[str, PinnedTable]]:
    return built_lake(tmp_path_factory.mktemp("wiki") / "lake", real_traces("verifiers"))


def test_many_states_were_answered_by_four_and_five_models(wiki: tuple[Lake, dict[str, PinnedTable]]) -> None:
    answers = wiki[0].scan("answers").collect()
    models = answers.group_by("state_key").agg(pl.col("author").n_unique().alias("n"))["n"]
    assert (models >= 4).sum() >= 150
    assert (models >= 5).sum() >= 100


def test_the_student_is_one_model_and_the_others_are_teachers(
    wiki: tuple[Lake, dict[str, PinnedTable]],
) -> None:
    answers = wiki[0].scan("answers").collect()
    assert answers.filter(role="student")["author"].unique().to_list() == [f"qwen/{STUDENT}"]
    assert f"qwen/{STUDENT}" not in answers.filter(role="teacher")["author"]


def test_every_student_turn_has_a_pair_or_a_reason_at_both_levels(
    wiki: tuple[Lake, dict[str, PinnedTable]],
) -> None:
    lake = wiki[0]
    turns = lake.scan("turns").filter(pl.col("model") == f"qwen/{STUDENT}").collect().height
    outcomes = lake.scan("pair_outcomes").collect()
    assert outcomes.height == turns * 2 * 2
    paired = outcomes.filter(outcome="paired")["pair_count"].sum()
    assert paired == lake.scan("preference_pairs").collect().height > 0


def test_the_disagreement_table_has_patterns_and_entropies(wiki: tuple[Lake, dict[str, PinnedTable]]) -> None:
    table = wiki[0].scan("disagreement").collect()
    four = table.filter(teacher_count=4)
    assert set(four["pattern"]) <= {"4-0", "3-1", "2-2", "2-1-1", "1-1-1-1"}
    assert (
        four.filter(pattern="4-0")["vote_entropy_nats"].to_list() == [0.0] * four.filter(pattern="4-0").height
    )


def test_two_builds_from_scratch_give_identical_digests(
    wiki: tuple[Lake, dict[str, PinnedTable]], real_traces: Callable[[str], Path], tmp_path: Path
) -> None:
    again = built_lake(tmp_path / "again", real_traces("verifiers"))[1]
    assert {name: state.digest for name, state in again.items()} == {
        name: state.digest for name, state in wiki[1].items()
    }


def test_later_imports_leave_the_pin_its_digest_rows_and_bytes_read(
    wiki: tuple[Lake, dict[str, PinnedTable]], real_traces: Callable[[str], Path]
) -> None:
    lake = wiki[0]
    pin = lake.pin("wiki", PINNED)
    before = {
        name: (lake.open_pin(pin.reference).scan(name).collect().height, bytes_read(lake, pin, name))
        for name in PINNED
    }
    import_sources(lake, [str(real_traces("tau-bench"))])
    build(lake, BuildParameters(student=STUDENT))
    assert lake.state("turns").row_count > wiki[1]["turns"].row_count
    opened = lake.open_pin(pin.reference)
    assert opened.pin == pin
    after = {name: (opened.scan(name).collect().height, bytes_read(lake, pin, name)) for name in PINNED}
    assert after == before


def bytes_read(lake: Lake, pin: object, name: str) -> int:
    """Bytes that a whole scan of the pinned version reads."""
    version = pin.tables[name].version  # type: ignore[attr-defined]
    dataset = open_table(lake.store.location(f"tables/{name}.lance"), version)
    assert dataset is not None
    dataset.io_stats_incremental()
    dataset.to_table()
    return dataset.io_stats_incremental().read_bytes
