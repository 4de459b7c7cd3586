"""Goal: a pin's digest is of its contents, of all of them, and of nothing else; its name says one pin."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import BadInputError
from schemas.pin import LedgerLine, PinnedTable, parse_reference, pin_digest

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
        "ledger": {"turn_completed": LedgerLine(**line)},
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


@given(
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,9}", fullmatch=True).filter(lambda name: ".." not in name),
    st.integers(0, 10**9),
)
def test_a_reference_is_a_name_and_perhaps_a_number(name: str, number: int) -> None:
    assert parse_reference(f"{name}@{number}") == (name, number)
    assert parse_reference(name) == (name, None)


NO_NAMES = ["", "a..b", "a b", "../a", "a/b", ".a", "-a", "é", "a" * 129, "a\n"]
NO_NUMBERS = ["", "x", "-1", "1.0", "1@2", "01", "1\n", " 1", "١", "²"]


@pytest.mark.parametrize(
    "reference", [*NO_NAMES, *(f"{n}@1" for n in NO_NAMES), *(f"a@{n}" for n in NO_NUMBERS)]
)
def test_what_is_no_reference_is_refused(reference: str) -> None:
    with pytest.raises(BadInputError):
        parse_reference(reference)
