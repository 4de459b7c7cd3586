"""Families that compute a number from numbers."""

from __future__ import annotations

from producers.world.families.family import NAMES_ONE, NAMES_TWO, Bug, Family


def _pairs(_: int) -> tuple[tuple[int, int], ...]:
    return ((2, 3), (7, 1), (4, 4))


def _around(k: int) -> tuple[tuple[int], ...]:
    return ((k - 2,), (k,), (k + 3,))


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
MAX_OF_TWO = Family(
    "max_of_two",
    ("larger", "max_of_two"),
    NAMES_TWO,
    (0,),
    ("def {f}({a}, {b}):", "    if {a} > {b}:", "        return {a}", "    return {b}"),
    ("return the larger of {a} and {b}", "return the maximum of {a} and {b}"),
    (
        Bug("comparison", 2, "    if {a} < {b}:"),
        Bug("comparison", 2, "    if {a} == {b}:"),
        Bug("wrong_variable", 3, "        return {b}"),
        Bug("wrong_variable", 4, "    return {a}"),
    ),
    _pairs,
    lambda _, a, b: max(a, b),
)
MIN_OF_TWO = Family(
    "min_of_two",
    ("smaller", "min_of_two"),
    NAMES_TWO,
    (0,),
    ("def {f}({a}, {b}):", "    if {a} < {b}:", "        return {a}", "    return {b}"),
    ("return the smaller of {a} and {b}", "return the minimum of {a} and {b}"),
    (
        Bug("comparison", 2, "    if {a} > {b}:"),
        Bug("comparison", 2, "    if {a} == {b}:"),
        Bug("wrong_variable", 3, "        return {b}"),
        Bug("wrong_variable", 4, "    return {a}"),
    ),
    _pairs,
    lambda _, a, b: min(a, b),
)
DISTANCE = Family(
    "distance",
    ("distance", "gap"),
    NAMES_TWO,
    (0,),
    ("def {f}({a}, {b}):", "    if {a} > {b}:", "        return {a} - {b}", "    return {b} - {a}"),
    ("return the distance between {a} and {b}", "return how far {a} is from {b}"),
    (
        Bug("comparison", 2, "    if {a} < {b}:"),
        Bug("operator", 3, "        return {a} + {b}"),
        Bug("operator", 4, "    return {b} + {a}"),
        Bug("off_by_one", 4, "    return {b} - {a} + 1"),
    ),
    lambda _: ((2, 5), (7, 1), (9, 8)),
    lambda _, a, b: abs(a - b),
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
ABSOLUTE = Family(
    "absolute",
    ("absolute", "size_of"),
    NAMES_ONE,
    (0,),
    ("def {f}({a}):", "    if {a} < 0:", "        return -{a}", "    return {a}"),
    ("return {a} without its sign", "return the absolute value of {a}"),
    (
        Bug("comparison", 2, "    if {a} > 0:"),
        Bug("operator", 3, "        return {a}"),
        Bug("operator", 4, "    return -{a}"),
        Bug("off_by_one", 4, "    return {a} + 1"),
    ),
    lambda _: ((-3,), (0,), (5,)),
    lambda _, x: abs(x),
)
SIGN = Family(
    "sign",
    ("sign", "direction"),
    NAMES_ONE,
    (0,),
    ("def {f}({a}):", "    if {a} < 0:", "        return -1", "    return 1"),
    ("return -1 if {a} is negative, else 1", "return the sign of {a}, 1 for 0"),
    (
        Bug("comparison", 2, "    if {a} > 0:"),
        Bug("comparison", 2, "    if {a} <= 0:"),
        Bug("constant", 3, "        return 0"),
        Bug("constant", 4, "    return 0"),
    ),
    lambda _: ((-3,), (0,), (5,)),
    lambda _, x: -1 if x < 0 else 1,
)
CAP = Family(
    "cap",
    ("cap", "limit"),
    NAMES_ONE,
    (4, 6, 8),
    ("def {f}({a}):", "    if {a} > {k}:", "        return {k}", "    return {a}"),
    ("return {a}, but at most {k}", "cap {a} at {k}"),
    (
        Bug("comparison", 2, "    if {a} < {k}:"),
        Bug("constant", 3, "        return {k_next}"),
        Bug("wrong_variable", 3, "        return {a}"),
        Bug("wrong_variable", 4, "    return {k}"),
    ),
    _around,
    lambda k, x: min(x, k),
)
FLOOR = Family(
    "floor",
    ("lift", "at_minimum"),
    NAMES_ONE,
    (4, 6, 8),
    ("def {f}({a}):", "    if {a} < {k}:", "        return {k}", "    return {a}"),
    ("return {a}, but at least {k}", "lift {a} to {k}"),
    (
        Bug("comparison", 2, "    if {a} > {k}:"),
        Bug("constant", 3, "        return {k_previous}"),
        Bug("wrong_variable", 3, "        return {a}"),
        Bug("wrong_variable", 4, "    return {k}"),
    ),
    _around,
    lambda k, x: max(x, k),
)
CLAMP = Family(
    "clamp",
    ("clamp", "bound"),
    (("x", "lo", "hi"), ("n", "lo", "hi"), ("value", "low", "high"), ("y", "low", "high")),
    (0,),
    ("def {f}({a}, {b}, {c}):", "    if {a} < {b}:", "        return {b}", "    return min({a}, {c})"),
    ("keep {a} between {b} and {c}", "return {a} within {b} and {c}"),
    (
        Bug("comparison", 2, "    if {a} > {b}:"),
        Bug("wrong_variable", 3, "        return {c}"),
        Bug("wrong_call", 4, "    return max({a}, {c})"),
        Bug("wrong_variable", 4, "    return min({a}, {b})"),
    ),
    lambda _: ((-2, 0, 5), (3, 0, 5), (9, 0, 5)),
    lambda _, x, low, high: max(low, min(x, high)),
)
FAMILIES = (
    *(ADD, SUBTRACT, MULTIPLY, MEAN, MAX_OF_TWO, MIN_OF_TWO, DISTANCE),
    *(SHIFT, SCALE, REMAINDER, ABSOLUTE, SIGN, CAP, FLOOR, CLAMP),
)
