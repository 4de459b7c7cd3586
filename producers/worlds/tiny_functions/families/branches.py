"""Families that compute a number by cases."""

from __future__ import annotations

from tracelake.producers.worlds.tiny_functions.families.family import NAMES_ONE, NAMES_TWO, Bug, Family


def _pairs(_: int) -> tuple[tuple[int, int], ...]:
    return ((2, 3), (7, 1), (4, 4))


def _around(k: int) -> tuple[tuple[int], ...]:
    return ((k - 2,), (k,), (k + 3,))


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
COMPARED = (MAX_OF_TWO, MIN_OF_TWO, DISTANCE)
BOUNDED = (ABSOLUTE, SIGN, CAP, FLOOR, CLAMP)
