"""Goal: a pin's digest is of its contents, of all of them, and of nothing else; its name says one pin."""

from __future__ import annotations

from typing import Any

from tracelake.schemas.pin import KindCounts, PinnedTable, pin_digest

TABLE: dict[str, Any] = {
    "version": 7,
    "row_count": 3,
    "digest": "d",
    "schema_digest": "s",
    "code_version": "1",
    "inputs": {"turns": "t"},
    "parameters": {"level": "L1"},
}
CHANGED: dict[str, Any] = {
    "row_count": 4,
    "digest": "e",
    "schema_digest": "t",
    "code_version": "2",
    "inputs": {"turns": "u"},
    "parameters": {"level": "L0"},
    "quarantined": ("e",),
}
LINE = {"landed": 5, "conflicting": 1, "rejected": 0}


def digest(table: dict[str, Any] = TABLE, line: dict[str, int] = LINE, **given: Any) -> str:
    fields: dict[str, Any] = {
        "tables": {"pairs": PinnedTable(**table)},
        "ledger": {"turn_completed": KindCounts(**line)},
        "tracelake_version": "0.1.0",
        "schema_versions": {"turn_completed": 1},
    }
    return pin_digest(**{**fields, **given})


def test_where_the_rows_lie_and_who_told_them_does_not_count() -> None:
    assert digest({**TABLE, "version": 8, "rows_digest": "r"}) == digest()


def test_every_other_field_counts() -> None:
    assert set(CHANGED) == set(PinnedTable.model_fields) - {"version", "rows_digest"}
    for name, value in CHANGED.items():
        assert digest({**TABLE, name: value}) != digest(), name
    for name in LINE:
        assert digest(line={**LINE, name: 9}) != digest(), name
    assert digest(tables={"others": PinnedTable(**TABLE)}) != digest()
    assert digest(tables={}) != digest()
    assert digest(ledger={}) != digest()
    assert digest(tracelake_version="0.1.1") != digest()
    assert digest(schema_versions={"turn_completed": 2}) != digest()
