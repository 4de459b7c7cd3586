"""Goal: rows of an older schema version read as rows of the current one, and rows of a newer one are refused.

Method: two invented versions before the current one, with an upcast from each to the next.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from tracelake.schemas.errors import EventInvalidError
from tracelake.schemas.events.columns import arrow_schema
from tracelake.schemas.events.kinds import CLASS_OF_KIND
from tracelake.schemas.events.upcast import UPCASTS, Upcast, conformed, upcast

KIND = "hint_given"
CURRENT = CLASS_OF_KIND[KIND].SCHEMA_VERSION
OLDEST, OLDER = CURRENT - 2, CURRENT - 1


def current_table() -> pa.Table:
    """Two rows of the current schema; each text value is the name of its column."""
    values: dict[Any, Any] = {pa.int64(): 7, pa.timestamp("us", "UTC"): 0}
    arrays = [pa.array([values.get(field.type, field.name)] * 2, field.type) for field in arrow_schema(KIND)]
    return pa.Table.from_arrays(arrays, schema=arrow_schema(KIND))


def renamed(old: str, new: str) -> Upcast:
    return lambda table: table.rename_columns([new if name == old else name for name in table.column_names])


INVENTED_UPCASTS: dict[tuple[str, int], Upcast] = {
    (KIND, OLDEST): renamed("tip", "advice"),
    (KIND, OLDER): renamed("advice", "hint"),
}


def test_upcasts_are_applied_in_order_from_the_version_that_was_written() -> None:
    today = current_table()
    assert upcast(renamed("hint", "tip")(today), KIND, OLDEST, INVENTED_UPCASTS) == today
    assert upcast(renamed("hint", "advice")(today), KIND, OLDER, INVENTED_UPCASTS) == today
    assert upcast(today, KIND, CURRENT, INVENTED_UPCASTS) == today


def test_a_version_without_an_upcast_is_refused_by_number() -> None:
    with pytest.raises(EventInvalidError, match=f"version {OLDER}"):
        upcast(current_table(), KIND, OLDEST, {(KIND, OLDEST): INVENTED_UPCASTS[KIND, OLDEST]})


def test_a_newer_version_is_refused_with_the_cure() -> None:
    with pytest.raises(EventInvalidError, match=rf"version {CURRENT + 1}.*Upgrade"):
        upcast(current_table(), KIND, CURRENT + 1, INVENTED_UPCASTS)


def test_every_older_version_of_every_kind_has_an_upcast() -> None:
    needed = {
        (cls.KIND, version) for cls in CLASS_OF_KIND.values() for version in range(1, cls.SCHEMA_VERSION)
    }
    assert set(UPCASTS) == needed


def test_a_new_nullable_column_is_filled_with_null() -> None:
    table = upcast(current_table().drop_columns(["source_uri", "occurred_at"]), KIND, CURRENT)
    assert table.schema.equals(arrow_schema(KIND), check_metadata=True)
    assert table["source_uri"].null_count == table["occurred_at"].null_count == 2
    assert table["hint"].to_pylist() == ["hint", "hint"]


def test_columns_get_the_order_and_types_of_the_schema() -> None:
    today = current_table()
    shuffled = today.select(today.column_names[::-1])
    narrow = shuffled.set_column(
        shuffled.column_names.index("hint"), "hint", shuffled["hint"].cast(pa.string())
    )
    assert conformed(narrow, arrow_schema(KIND)) == today


def test_a_missing_or_unknown_column_is_refused_by_name() -> None:
    with pytest.raises(EventInvalidError, match="expected hint"):
        conformed(current_table().drop_columns(["hint"]), arrow_schema(KIND))
    with pytest.raises(EventInvalidError, match="got tip"):
        conformed(renamed("hint", "tip")(current_table()), arrow_schema(KIND))
