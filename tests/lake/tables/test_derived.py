"""Goal: a derived table has the rows of its frame, and gets a new version only when something changed."""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import lance
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tracelake.lake import Lake
from tracelake.lake.layout import table_path
from tracelake.lake.tables.derived import Derivation, derived_note, table_state
from tracelake.schemas.errors import BadInputError, LakeError, TableMissingError

DERIVATION = Derivation(
    key=("id",), code_version="1", inputs={"turn_completed": "d"}, parameters={"level": "L1"}
)
FRAME = pl.DataFrame({"id": ["b", "a", "c"], "score": [1.0, None, math.inf], "words": [["x"], [], None]})


def test_a_frame_is_read_back_unchanged_whatever_its_row_order(fresh_lake: Lake) -> None:
    state = fresh_lake.derive("pairs", FRAME, DERIVATION)
    assert state.row_count == 3
    assert (state.code_version, state.inputs, state.parameters) == (
        "1",
        {"turn_completed": "d"},
        {"level": "L1"},
    )
    assert_frame_equal(fresh_lake.scan("pairs").sort("id").collect(), FRAME.sort("id"))
    assert fresh_lake.derive("pairs", FRAME.sort("id", descending=True), DERIVATION) == state
    assert fresh_lake.state("pairs") == state


def test_only_a_change_creates_a_version(fresh_lake: Lake) -> None:
    first = fresh_lake.derive("pairs", FRAME, DERIVATION)
    assert fresh_lake.derive("pairs", FRAME, DERIVATION).version == first.version
    for number, (frame, derivation) in enumerate(
        [
            (FRAME.head(2), DERIVATION),
            (FRAME.head(2), DERIVATION.model_copy(update={"code_version": "2"})),
            (FRAME.head(2), DERIVATION.model_copy(update={"parameters": {"level": "L0"}})),
            (FRAME.head(2), DERIVATION.model_copy(update={"inputs": {"turn_completed": "e"}})),
            (FRAME, DERIVATION),
        ],
        first.version + 1,
    ):
        assert fresh_lake.derive("pairs", frame, derivation).version == number
    assert fresh_lake.state("pairs").digest == first.digest
    assert_frame_equal(
        fresh_lake.scan("pairs", at=first.version + 1).sort("id").collect(), FRAME.head(2).sort("id")
    )


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COLUMNS = {
    "text": (pl.String, st.text(max_size=5)),
    "whole": (pl.Int64, st.integers(-(2**63), 2**63 - 1)),
    "small": (pl.UInt8, st.integers(0, 255)),
    "real": (pl.Float64, st.floats(allow_nan=False)),
    "flag": (pl.Boolean, st.booleans()),
    "moment": (
        pl.Datetime("us", "UTC"),
        st.integers(-(2**51), 2**51).map(lambda micros: EPOCH + timedelta(microseconds=micros)),
    ),
    "words": (pl.List(pl.String), st.lists(st.none() | st.text(max_size=3), max_size=3)),
    "ids": (pl.List(pl.Int32), st.lists(st.integers(-9, 9), max_size=3)),
    "logprobs": (pl.List(pl.Float32), st.lists(st.floats(width=32, allow_nan=False), max_size=3)),
}


@given(st.data())
@settings(max_examples=20)
def test_every_type_of_column_is_stored_without_loss(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, 5))
    columns = {
        name: pl.Series(data.draw(st.lists(st.none() | values, min_size=count, max_size=count)), dtype=kind)
        for name, (kind, values) in COLUMNS.items()
    }
    frame = pl.DataFrame({"id": pl.Series(range(count), dtype=pl.Int64), **columns})
    lake = Lake.create(str(tmp_path_factory.mktemp("derived") / "lake"))
    state = lake.derive("any", frame, DERIVATION)
    assert_frame_equal(lake.scan("any").sort("id").collect(), frame, check_exact=True)
    assert table_state(lake.store, "any", recompute=True) == state


@pytest.mark.parametrize(
    ("frame", "key", "named"),
    [
        (pl.DataFrame({"id": ["a", "a"]}), ("id",), "share a key"),
        (pl.DataFrame({"id": [None, None]}, schema={"id": pl.String}), ("id",), "share a key"),
        (pl.DataFrame({"id": ["a"]}), ("name",), "no such key"),
        (pl.DataFrame({"id": ["a"]}), (), "no such key"),
        (pl.DataFrame({"id": ["a"], "odd": [{"a": 1}]}), ("id",), "column odd"),
        (pl.DataFrame({"id": ["a"], "odd": [b"x"]}), ("id",), "column odd"),
    ],
)
def test_a_frame_that_cannot_be_stored_is_refused(
    fresh_lake: Lake, frame: pl.DataFrame, key: tuple[str, ...], named: str
) -> None:
    with pytest.raises(BadInputError, match=named):
        fresh_lake.derive("pairs", frame, DERIVATION.model_copy(update={"key": key}))
    assert fresh_lake.tables() == []


@pytest.mark.parametrize(
    "name", ["turn_completed", "conflict_found", "../pairs", "a/b", "", ".pairs", "a" * 129]
)
def test_an_event_table_or_an_odd_name_is_refused(fresh_lake: Lake, name: str) -> None:
    with pytest.raises(BadInputError):
        fresh_lake.derive(name, FRAME, DERIVATION)


def test_a_missing_table_or_version_is_a_typed_error(fresh_lake: Lake) -> None:
    for look in (fresh_lake.scan, fresh_lake.state):
        with pytest.raises(TableMissingError, match="pairs"):
            look("pairs")
    for look in (lambda: fresh_lake.scan("turn_completed", at=1), lambda: fresh_lake.state("turn_completed")):
        with pytest.raises(TableMissingError, match="turn_completed"):
            look()
    fresh_lake.derive("pairs", FRAME, DERIVATION)
    with pytest.raises(TableMissingError, match="no version 7"):
        fresh_lake.scan("pairs", at=7)
    with pytest.raises(TableMissingError, match="pairs"):
        table_state(fresh_lake.store, "pairs", 7)


def test_a_foreign_table_is_a_typed_error(fresh_lake: Lake) -> None:
    lance.write_dataset(FRAME.to_arrow(), fresh_lake.store.location(table_path("foreign")))
    for look in (lambda: fresh_lake.state("foreign"), lambda: derived_note(fresh_lake.store, "foreign")):
        with pytest.raises(LakeError, match="foreign"):
            look()


def test_the_note_records_the_derivation(fresh_lake: Lake) -> None:
    assert derived_note(fresh_lake.store, "pairs") is None
    state = fresh_lake.derive("pairs", FRAME, DERIVATION)
    note = derived_note(fresh_lake.store, "pairs")
    assert note is not None
    assert note.model_dump() == {**DERIVATION.model_dump(), "digest": state.digest}


def test_a_lake_can_be_in_a_folder_of_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "a b#c%20é"
    Lake.create(str(folder)).derive("pairs", FRAME, DERIVATION)
    assert Lake.open(f"file://{folder}").state("pairs").row_count == 3


def test_a_table_derived_by_racing_writers_has_the_rows_of_one_of_them(fresh_lake: Lake) -> None:
    ready = threading.Barrier(4)

    def derive(name: str) -> str:
        ready.wait()
        return fresh_lake.derive("pairs", pl.DataFrame({"id": [name, "all"]}), DERIVATION).digest

    with ThreadPoolExecutor(4) as pool:
        digests = set(pool.map(derive, "abcd"))
    assert len(digests) == 4
    assert fresh_lake.state("pairs").digest in digests
    assert table_state(fresh_lake.store, "pairs", recompute=True) == fresh_lake.state("pairs")
