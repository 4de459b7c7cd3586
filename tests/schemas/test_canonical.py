"""Goal: equal JSON values have equal bytes, those of RFC 8785, and values that are not JSON are refused.

Method: the bytes are compared with the `rfc8785` package; values that it would round or refuse are tested
case by case.
"""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from tracelake.schemas.canonical import canonical_json, canonical_text, hash_of, number_json, number_text
from tracelake.schemas.errors import EventInvalidError

SAFE_INTEGERS = st.integers(-(2**53) + 1, 2**53 - 1)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | SAFE_INTEGERS | NUMBERS | st.text()
JSON_VALUES = st.recursive(
    SCALARS,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@given(JSON_VALUES)
@example({"\U0001f600": 1, "\ufb33": 2, "\u20ac": 3, "\r": 4, "1": 5, "\x80": 6, "\xf6": 7})
@example([1e-5, 5e-5, 1.5e-5, 1e-6, 1e-7, 1e15, 1e16, 1e20, 1e21, 123456789.5, -0.0, 5e-324, 1.7e308])
@example('\x00\x08\t\n\x0c\r\x1f\x7f\u2028"\\/é')
def test_json_values_have_the_bytes_of_rfc_8785(value: Any) -> None:
    assert canonical_json(value) == rfc8785.dumps(value)


@given(NUMBERS)
@example(0.00005)
@example(-0.0)
def test_a_float_is_printed_as_ecmascript_prints_it_and_reads_back_as_itself(number: float) -> None:
    assert number_text(number) == rfc8785.dumps(number)
    assert float(number_text(number)) == number


@given(st.floats(min_value=1e-8, max_value=1e-2))
def test_small_numbers_such_as_costs_have_one_form(number: float) -> None:
    assert number_text(number) == rfc8785.dumps(number)


@given(st.floats(min_value=1e-5, max_value=1e16))
@example(1e-4)
@example(1e15)
@example(999999999999999.9)
@example(0.00010000000000000002)
def test_the_fast_encoder_prints_the_same_text(number: float) -> None:
    assert orjson.dumps(number_json(number)) == rfc8785.dumps(number)


@given(st.integers(-(10**40), 10**40))
def test_an_integer_of_any_size_keeps_its_digits(number: int) -> None:
    assert canonical_json([number, {"id": number}]) == f'[{number},{{"id":{number}}}]'.encode()


@given(JSON_VALUES)
def test_canonical_text_parses_and_is_a_fixed_point(value: Any) -> None:
    text = canonical_text(value)
    assert canonical_text(json.loads(text)) == text


@given(st.dictionaries(st.text(), SCALARS, max_size=6), st.randoms())
def test_key_order_does_not_change_the_hash(mapping: dict[str, Any], random: Any) -> None:
    shuffled = list(mapping.items())
    random.shuffle(shuffled)
    assert hash_of(dict(shuffled)) == hash_of(mapping)


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        [float("inf")],
        {"a": -float("inf")},
        "\ud800",
        {"\udfff": 1},
        ["\U0001f600", {"\ud800": 1.5}],
        {1: "a number for a key"},
        {"outer": {None: 1}},
        {1.5: "a float key takes the slow path"},
        b"bytes",
        {1, 2},
        object(),
        [10**5000],
    ],
)
def test_a_value_that_json_cannot_represent_is_refused_with_a_typed_error(value: object) -> None:
    with pytest.raises(EventInvalidError):
        canonical_json(value)


@pytest.mark.parametrize("depth", [300, 10**5])
@pytest.mark.parametrize("leaf", [None, 0.5], ids=["plain", "with a float"])
def test_a_very_deep_value_is_refused_with_a_typed_error(depth: int, leaf: object) -> None:
    with pytest.raises(EventInvalidError):
        canonical_json([leaf, nested(depth)])
