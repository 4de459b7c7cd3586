"""Goal: a digest depends on a table's values, and not on how they are stored.

Method: tables of every column type are generated, stored in another way, and changed in one place.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelake.lake.tables.digest import event_ids_digest, schema_digest, table_digest
from tracelake.schemas.errors import BadInputError

TEXTS = st.text(max_size=4)
COLUMNS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "text": (pa.large_string(), TEXTS),
    "short_text": (pa.string(), TEXTS),
    "whole": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "small": (pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    "unsigned": (pa.uint64(), st.integers(0, 2**64 - 1)),
    "real": (pa.float64(), st.floats(allow_nan=False)),
    "single": (pa.float32(), st.floats(width=32, allow_nan=False)),
    "flag": (pa.bool_(), st.booleans()),
    "moment": (pa.timestamp("us", "UTC"), st.datetimes().map(lambda moment: moment.replace(tzinfo=UTC))),
    "ids": (pa.list_(pa.int32()), st.lists(st.none() | st.integers(-9, 9), max_size=3)),
    "words": (pa.large_list(pa.large_string()), st.lists(st.none() | TEXTS, max_size=3)),
    "nested": (
        pa.list_(pa.list_(pa.float32())),
        st.lists(st.lists(st.sampled_from([0.0, 0.5]), max_size=2), max_size=2),
    ),
}


@st.composite
def tables(draw: st.DrawFn, rows_min: int = 0) -> pa.Table:
    count = draw(st.integers(rows_min, 6))
    names = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=5, unique=True))
    columns = {"key": pa.array(draw(st.permutations(range(count))), pa.int64())}
    for name in names:
        kind, values = COLUMNS[name]
        columns[name] = pa.array(draw(st.lists(st.none() | values, min_size=count, max_size=count)), kind)
    return pa.table(columns)


def digest(table: pa.Table) -> str:
    return table_digest(table, ["key"])


@given(tables(), st.data())
def test_the_order_of_rows_and_columns_and_the_chunks_do_not_matter(
    table: pa.Table, data: st.DataObject
) -> None:
    rows = data.draw(st.permutations(range(table.num_rows)))
    names = data.draw(st.permutations(table.column_names))
    moved = table.take(pa.array(rows, pa.int64())).select(names)
    cuts = [0, *sorted(data.draw(st.sets(st.integers(0, table.num_rows), max_size=3))), table.num_rows]
    pieces = [moved.slice(start, end - start) for start, end in pairwise(cuts)]
    assert digest(pa.concat_tables(pieces)) == digest(table)
    assert digest(moved.replace_schema_metadata({"note": "of storage"})) == digest(table)


@given(tables())
def test_the_widths_of_text_and_lists_do_not_matter(table: pa.Table) -> None:
    widths = {"text": pa.string_view(), "short_text": pa.large_string(), "ids": pa.large_list(pa.int32())}
    for name in set(widths) & set(table.column_names):
        index = table.column_names.index(name)
        table_of_width = table.set_column(index, name, table.column(name).cast(widths[name]))
        assert digest(table_of_width) == digest(table)


def other_values(value: Any) -> list[Any]:
    """Small changes of one value, null among them."""
    if value is None:
        return ["x", 7, 0.25, True, datetime(2026, 1, 1, tzinfo=UTC), [], [[]], ""]
    if isinstance(value, bool):
        return [not value, None]
    if isinstance(value, int):
        return [value ^ 1, None]
    if isinstance(value, float):
        return [math.nextafter(value, 1.0) if abs(value) != math.inf else 0.0, None]
    if isinstance(value, str):
        return [value + "x", value + "\0", None] + ([""] if value else [])
    if isinstance(value, list):
        return [[*value, None], None] + ([[]] if value else [])
    return [datetime(1970, 1, 1, tzinfo=UTC) if value.year > 1970 else datetime(2020, 1, 1, tzinfo=UTC), None]


@given(tables(rows_min=1), st.data())
def test_every_value_and_every_null_matters(table: pa.Table, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, table.num_rows - 1))
    for index, name in enumerate(table.column_names[1:], 1):
        values = table.column(name).to_pylist()
        for after in other_values(values[row]):
            changed = [*values[:row], after, *values[row + 1 :]]
            try:
                column = pa.array(changed, table.column(name).type)
            except (pa.ArrowException, TypeError, OverflowError):
                continue
            if column.to_pylist() != values:
                assert digest(table.set_column(index, name, column)) != digest(table), (
                    name,
                    values[row],
                    after,
                )


@given(tables(rows_min=1))
def test_names_types_and_the_number_of_rows_matter(table: pa.Table) -> None:
    last = table.column_names[-1]
    renamed = table.rename_columns([*table.column_names[:-1], f"{last}_"])
    assert digest(renamed) != digest(table)
    assert digest(table.drop_columns([last])) != digest(table)
    assert digest(table.slice(1)) != digest(table)
    assert digest(table.slice(0, 0)) != digest(table)


def test_equal_numbers_of_another_type_have_another_digest() -> None:
    kinds = [
        pa.int32(),
        pa.int64(),
        pa.float32(),
        pa.float64(),
        pa.bool_(),
        pa.timestamp("us"),
        pa.timestamp("ms"),
    ]
    zeros = [pa.table({"key": pa.array([1]), "zero": pa.array([0], pa.int64()).cast(kind)}) for kind in kinds]
    assert len({digest(table) for table in zeros}) == len(kinds)


def test_null_empty_and_zero_have_different_digests() -> None:
    columns = [
        pa.array([None], pa.string()),
        pa.array([""], pa.string()),
        pa.array([None], pa.list_(pa.string())),
        pa.array([[]], pa.list_(pa.string())),
        pa.array([[None]], pa.list_(pa.string())),
        pa.array([[""]], pa.list_(pa.string())),
        pa.array([["", ""]], pa.list_(pa.string())),
        pa.array([None], pa.float64()),
        pa.array([0.0], pa.float64()),
        pa.array([-0.0], pa.float64()),
        pa.array([math.nan], pa.float64()),
    ]
    assert len({digest(pa.table({"key": [1], "value": column})) for column in columns}) == len(columns)


def test_text_moved_between_rows_changes_the_digest() -> None:
    groups = [["ab", "c"], ["a", "bc"], ["abc", ""], ["", "abc"], [None, "abc"]]
    assert len({digest(pa.table({"key": [1, 2], "text": group})) for group in groups}) == len(groups)
    lists = [[["a", "b"], ["c"]], [["a"], ["b", "c"]], [["ab"], ["c"]], [["a", "b", "c"], []]]
    assert len({digest(pa.table({"key": [1, 2], "words": group})) for group in lists}) == len(lists)


def test_all_bit_patterns_of_nan_have_the_same_digest() -> None:
    bits = [0x7FF8000000000000, 0xFFF8000000000000, 0x7FF8000000000001]
    columns = [pa.array([number], pa.uint64()).view(pa.float64()) for number in bits]
    assert len({digest(pa.table({"key": [1], "value": column})) for column in columns}) == 1


@given(st.lists(TEXTS, unique=True, max_size=4), st.lists(TEXTS, unique=True, max_size=4))
def test_a_schema_digest_covers_names_and_types(names: list[str], others: list[str]) -> None:
    one, other = (pa.schema([(name, pa.int64()) for name in group]) for group in (names, others))
    assert (schema_digest(one) == schema_digest(other)) == (sorted(names) == sorted(others))


def test_no_name_can_imitate_two_columns() -> None:
    two = pa.schema([("a", pa.int64()), ("b", pa.int64())])
    assert schema_digest(two) != schema_digest(pa.schema([("a:int64\nb", pa.int64())]))


@pytest.mark.parametrize(
    "column",
    [
        pa.array([{"a": 1}]),
        pa.array([b"x"]),
        pa.array([1]).cast(pa.duration("s")),
        pa.array(["a"]).dictionary_encode(),
    ],
    ids=lambda column: str(column.type),
)
def test_a_column_type_without_a_digest_is_refused(column: pa.Array) -> None:
    with pytest.raises(BadInputError, match="column odd"):
        digest(pa.table({"key": [1], "odd": column}))


@given(st.lists(st.text(min_size=1), unique=True), st.randoms())
def test_the_digest_of_event_ids_ignores_their_order(ids: list[str], random: Any) -> None:
    shuffled = list(ids)
    random.shuffle(shuffled)
    assert event_ids_digest(pa.array(shuffled, pa.string())) == event_ids_digest(
        pa.array(ids, pa.large_string())
    )
    assert event_ids_digest(pa.array([*ids, "one more" * 9])) != event_ids_digest(pa.array(ids, pa.string()))
