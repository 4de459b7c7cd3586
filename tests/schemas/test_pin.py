"""Goal: a pin's digest covers all of its contents and nothing else."""

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
COUNTS = {"landed": 5, "conflicting": 1, "rejected": 0}


def digest(table: dict[str, Any] = TABLE, counts: dict[str, int] = COUNTS, **changes: Any) -> str:
    fields: dict[str, Any] = {
        "tables": {"pairs": PinnedTable(**table)},
        "ledger": {"turn_completed": KindCounts(**counts)},
        "tracelake_version": "0.1.0",
        "schema_versions": {"turn_completed": 1},
    }
    return pin_digest(**{**fields, **changes})


def test_storage_and_envelopes_do_not_change_the_digest() -> None:
    assert digest({**TABLE, "version": 8, "rows_digest": "r"}) == digest()


def test_every_other_field_changes_the_digest() -> None:
    assert set(CHANGED) == set(PinnedTable.model_fields) - {"version", "rows_digest"}
    for name, value in CHANGED.items():
        assert digest({**TABLE, name: value}) != digest(), name
    for name in COUNTS:
        assert digest(counts={**COUNTS, name: 9}) != digest(), name
    assert digest(tables={"others": PinnedTable(**TABLE)}) != digest()
    assert digest(tables={}) != digest()
    assert digest(ledger={}) != digest()
    assert digest(tracelake_version="0.1.1") != digest()
    assert digest(schema_versions={"turn_completed": 2}) != digest()
