"""Families that compute a number from numbers; those that do it by cases are in `branches`."""

from __future__ import annotations

from tracelake.producers.worlds.tiny_functions.families.branches import BOUNDED, COMPARED
from tracelake.producers.worlds.tiny_functions.families.family import NAMES_ONE, NAMES_TWO, Bug, Family


def _pairs(_: int) -> tuple[tuple[int, int], ...]:
    return ((2, 3), (7, 1), (4, 4))


ADD = Family(
    "add",
    ("add", "plus"),
    NAMES_TWO,
    (0,),
    ("def {f}({a}, {b}):", "    return {a} + {b}"),
    ("return the sum of {a} and {b}", "add {a} and {b}"),
    (
        Bug("operator", 2, "    return {a} - {b}"),
        Bug("operator", 2, "    return {a} * {b}"),
        Bug("wrong_variable", 2, "    return {b} + {b}"),
        Bug("off_by_one", 2, "    return {a} + {b} + 1"),
    ),
    _pairs,
    lambda _, a, b: a + b,
)
SUBTRACT = Family(
    "subtract",
    ("subtract", "minus"),
    NAMES_TWO,
    (0,),
    ("def {f}({a}, {b}):", "    return {a} - {b}"),
    ("return {a} less {b}", "take {b} away from {a}"),
    (
        Bug("operator", 2, "    return {a} + {b}"),
        Bug("order", 2, "    return {b} - {a}"),
        Bug("wrong_variable", 2, "    return {a} - {a}"),
        Bug("off_by_one", 2, "    return {a} - {b} - 1"),
    ),
    lambda _: ((2, 3), (7, 1), (9, 4)),
    lambda _, a, b: a - b,
)
MULTIPLY = Family(
    "multiply",
    ("multiply", "times"),
    NAMES_TWO,
    (0,),
    ("def {f}({a}, {b}):", "    return {a} * {b}"),
    ("return the product of {a} and {b}", "multiply {a} by {b}"),
    (
        Bug("operator", 2, "    return {a} + {b}"),
        Bug("operator", 2, "    return {a} // {b}"),
        Bug("wrong_variable", 2, "    return {a} * {a}"),
        Bug("off_by_one", 2, "    return {a} * {b} + 1"),
    ),
    _pairs,
    lambda _, a, b: a * b,
)
MEAN = Family(
    "mean",
    ("mean", "middle"),
    NAMES_TWO,
    (0,),
    ("def {f}({a}, {b}):", "    return ({a} + {b}) // 2"),
    ("return the mean of {a} and {b}, rounded down", "return half of {a} plus {b}, rounded down"),
    (
        Bug("constant", 2, "    return ({a} + {b}) // 3"),
        Bug("operator", 2, "    return ({a} - {b}) // 2"),
        Bug("operator", 2, "    return ({a} + {b}) * 2"),
        Bug("wrong_variable", 2, "    return ({b} + {b}) // 2"),
    ),
    lambda _: ((2, 4), (9, 1), (7, 4)),
    lambda _, a, b: (a + b) // 2,
)
SHIFT = Family(
    "shift",
    ("shift", "raise_by"),
    NAMES_ONE,
    (2, 4, 6, 8),
    ("def {f}({a}):", "    return {a} + {k}"),
    ("return {a} plus {k}", "add {k} to {a}"),
    (
        Bug("operator", 2, "    return {a} - {k}"),
        Bug("constant", 2, "    return {a} + {k_next}"),
        Bug("constant", 2, "    return {a} + {k_previous}"),
        Bug("operator", 2, "    return {a} * {k}"),
    ),
    lambda _: ((0,), (1,), (9,)),
    lambda k, x: x + k,
)
SCALE = Family(
    "scale",
    ("scale", "grow"),
    NAMES_ONE,
    (3, 5, 7, 8),
    ("def {f}({a}):", "    return {a} * {k}"),
    ("return {a} times {k}", "multiply {a} by {k}"),
    (
        Bug("operator", 2, "    return {a} + {k}"),
        Bug("constant", 2, "    return {a} * {k_next}"),
        Bug("constant", 2, "    return {a} * {k_previous}"),
        Bug("wrong_variable", 2, "    return {a} * {a}"),
    ),
    lambda _: ((0,), (1,), (2,)),
    lambda k, x: x * k,
)
REMAINDER = Family(
    "remainder",
    ("remainder", "left_over"),
    NAMES_ONE,
    (3, 5, 7, 8),
    ("def {f}({a}):", "    return {a} % {k}"),
    ("return the remainder of {a} by {k}", "return what is left of {a} after division by {k}"),
    (
        Bug("operator", 2, "    return {a} // {k}"),
        Bug("constant", 2, "    return {a} % {k_next}"),
        Bug("constant", 2, "    return {a} % {k_previous}"),
        Bug("off_by_one", 2, "    return {a} % {k} + 1"),
    ),
    lambda k: ((k - 1,), (k,), (k + 1,)),
    lambda k, x: x % k,
)
FAMILIES = (ADD, SUBTRACT, MULTIPLY, MEAN, *COMPARED, SHIFT, SCALE, REMAINDER, *BOUNDED)
