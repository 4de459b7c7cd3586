"""Goal: a pin reference is a name and an optional number, in one spelling; everything else is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelake.schemas.errors import BadInputError
from tracelake.schemas.pin_reference import parse_reference


@given(
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,9}", fullmatch=True).filter(lambda name: ".." not in name),
    st.integers(0, 10**9),
)
def test_a_reference_is_a_name_and_an_optional_number(name: str, number: int) -> None:
    assert parse_reference(f"{name}@{number}") == (name, number)
    assert parse_reference(name) == (name, None)


INVALID_NAMES = ["", "a..b", "a b", "../a", "a/b", ".a", "-a", "é", "a" * 129, "a\n"]
INVALID_NUMBERS = ["", "x", "-1", "1.0", "1@2", "01", "1\n", " 1", "١", "²"]


@pytest.mark.parametrize(
    "reference", [*INVALID_NAMES, *(f"{n}@1" for n in INVALID_NAMES), *(f"a@{n}" for n in INVALID_NUMBERS)]
)
def test_an_invalid_reference_is_refused(reference: str) -> None:
    with pytest.raises(BadInputError):
        parse_reference(reference)
