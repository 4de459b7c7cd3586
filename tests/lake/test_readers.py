"""Goal: other tools read the same rows from a lake.

Method: LanceDB, Lance, Polars, pyarrow and DuckDB read one lake.
"""

from __future__ import annotations

from pathlib import Path

import duckdb
import lance
import lancedb
import polars as pl
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from tests.lake.facts import of_three_kinds, turn
from tracelake.lake import Lake
from tracelake.lake.layout import EVENTS, TABLES, kind_prefix, table_path
from tracelake.lake.tables.derived import Derivation
from tracelake.schemas.events.event import event_identity

KIND = "turn_completed"
UNUSUAL = turn(
    7,
    completion_ids=[2**31 - 1, -1],
    sampling_logprobs=[],
    completion_mask=[True, False],
    model_served="é 日本 \U0001f600",
    cost_usd=0.00005,
)


@pytest.fixture
def lake(fresh_lake: Lake) -> Lake:
    with fresh_lake.writer("run") as writer:
        writer.append(of_three_kinds(range(3)))
        writer.append([UNUSUAL])
    fresh_lake.project()
    fresh_lake.derive("pairs", pl.DataFrame({"id": ["a", "b"]}), Derivation(key=("id",), code_version="1"))
    return fresh_lake


def rows(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.sort("event_id").select(sorted(frame.columns))


def test_lancedb_opens_the_folder_of_tables(lake: Lake) -> None:
    database = lancedb.connect(lake.store.location(TABLES))
    assert sorted(database.list_tables().tables) == lake.tables()
    read = pl.DataFrame(database.open_table(KIND).to_arrow())
    assert_frame_equal(rows(read), rows(lake.scan(KIND).collect()))
    assert database.open_table("pairs").count_rows() == 2
    wanted = event_identity(UNUSUAL).event_id
    [found] = database.open_table(KIND).search().where(f"event_id = '{wanted}'").to_list()
    assert (found["cost_usd"], found["completion_ids"]) == (0.00005, [2**31 - 1, -1])


def test_lance_and_polars_read_the_tables(lake: Lake) -> None:
    at = lake.store.location(table_path(KIND))
    assert_frame_equal(rows(pl.scan_lance(at).collect()), rows(lake.scan(KIND).collect()))
    assert_frame_equal(rows(pl.DataFrame(lance.dataset(at).to_table())), rows(lake.scan(KIND).collect()))


def test_parquet_readers_read_the_landed_files(lake: Lake) -> None:
    folder = Path(lake.store.location(kind_prefix(KIND)))
    expected = rows(lake.scan(KIND).collect())
    assert_frame_equal(rows(pl.read_parquet(folder / "*" / "*.parquet", hive_partitioning=False)), expected)
    read = pads.dataset(folder, format="parquet").to_table()
    assert_frame_equal(rows(pl.DataFrame(read)), expected)
    pieces = [pq.ParquetFile(path).read() for path in sorted(folder.rglob("*.parquet"))]
    assert_frame_equal(rows(pl.concat([pl.DataFrame(piece) for piece in pieces])), expected)


def test_every_landed_file_passes_its_page_checksums(lake: Lake) -> None:
    for path in lake.store.list(EVENTS):
        pq.read_table(lake.store.location(path), page_checksum_verification=True, partitioning=None)


def test_duckdb_reads_the_landed_files(lake: Lake) -> None:
    pattern = lake.store.location(f"{EVENTS}/*/*/*.parquet")
    query = f"select count(*), count(distinct event_id) from read_parquet('{pattern}', union_by_name = true)"
    assert duckdb.sql(query).fetchall() == [(10, 10)]
