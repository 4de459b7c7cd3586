"""Families that answer yes or no, or with a word."""

from __future__ import annotations

from tracelake.producers.worlds.tiny_functions.families.family import (
    NAMES_LIST,
    NAMES_ONE,
    NAMES_TWO,
    NAMES_WORD,
    Bug,
    Family,
)


def _around(k: int) -> tuple[tuple[int], ...]:
    return ((k - 1,), (k,), (k + 1,))


IS_EVEN = Family(
    "is_even",
    ("is_even", "even"),
    NAMES_ONE,
    (0,),
    ("def {f}({a}):", "    return {a} % 2 == 0"),
    ("tell if {a} is even", "return True if 2 divides {a}"),
    (
        Bug("comparison", 2, "    return {a} % 2 != 0"),
        Bug("constant", 2, "    return {a} % 3 == 0"),
        Bug("operator", 2, "    return {a} // 2 == 0"),
    ),
    lambda _: ((3,), (4,), (7,)),
    lambda _, x: x % 2 == 0,
)
IS_ODD = Family(
    "is_odd",
    ("is_odd", "odd"),
    NAMES_ONE,
    (0,),
    ("def {f}({a}):", "    return {a} % 2 == 1"),
    ("tell if {a} is odd", "return True if 2 does not divide {a}"),
    (
        Bug("constant", 2, "    return {a} % 2 == 0"),
        Bug("constant", 2, "    return {a} % 3 == 1"),
        Bug("operator", 2, "    return {a} // 2 == 1"),
    ),
    lambda _: ((2,), (4,), (5,)),
    lambda _, x: x % 2 == 1,
)
DIVIDES = Family(
    "divides",
    ("divides", "is_multiple"),
    NAMES_TWO,
    (0,),
    ("def {f}({a}, {b}):", "    return {a} % {b} == 0"),
    ("tell if {b} divides {a}", "return True if {a} is a multiple of {b}"),
    (
        Bug("comparison", 2, "    return {a} % {b} != 0"),
        Bug("order", 2, "    return {b} % {a} == 0"),
        Bug("constant", 2, "    return {a} % {b} == 1"),
        Bug("operator", 2, "    return {a} // {b} == 0"),
    ),
    lambda _: ((6, 3), (3, 6), (7, 3)),
    lambda _, a, b: a % b == 0,
)
IS_POSITIVE = Family(
    "is_positive",
    ("is_positive", "positive"),
    NAMES_ONE,
    (0,),
    ("def {f}({a}):", "    return {a} > 0"),
    ("tell if {a} is above 0", "return True if {a} is positive"),
    (
        Bug("comparison", 2, "    return {a} >= 0"),
        Bug("comparison", 2, "    return {a} < 0"),
        Bug("constant", 2, "    return {a} > 1"),
    ),
    lambda _: ((-1,), (0,), (1,)),
    lambda _, x: x > 0,
)
AT_LEAST = Family(
    "at_least",
    ("at_least", "reaches"),
    NAMES_ONE,
    (3, 5, 7, 8),
    ("def {f}({a}):", "    return {a} >= {k}"),
    ("tell if {a} is {k} or more", "return True if {a} is at least {k}"),
    (
        Bug("comparison", 2, "    return {a} > {k}"),
        Bug("comparison", 2, "    return {a} <= {k}"),
        Bug("constant", 2, "    return {a} >= {k_previous}"),
        Bug("constant", 2, "    return {a} >= {k_next}"),
    ),
    _around,
    lambda k, x: x >= k,
)
BELOW = Family(
    "below",
    ("below", "is_under"),
    NAMES_ONE,
    (3, 5, 7, 8),
    ("def {f}({a}):", "    return {a} < {k}"),
    ("tell if {a} is less than {k}", "return True if {a} is below {k}"),
    (
        Bug("comparison", 2, "    return {a} > {k}"),
        Bug("comparison", 2, "    return {a} <= {k}"),
        Bug("constant", 2, "    return {a} < {k_next}"),
        Bug("constant", 2, "    return {a} < {k_previous}"),
    ),
    _around,
    lambda k, x: x < k,
)
FIZZ = Family(
    "fizz",
    ("fizz", "fizz_word"),
    NAMES_ONE,
    (3, 5, 7),
    ("def {f}({a}):", "    if {a} % {k} == 0:", "        return 'fizz'", "    return str({a})"),
    ("say fizz if {k} divides {a}, else {a} as text", "fizz for multiples of {k}, else {a} as text"),
    (
        Bug("constant", 2, "    if {a} % {k_next} == 0:"),
        Bug("comparison", 2, "    if {a} % {k} != 0:"),
        Bug("operator", 2, "    if {a} // {k} == 0:"),
        Bug("constant", 3, "        return 'buzz'"),
        Bug("wrong_call", 4, "    return {a}"),
    ),
    lambda k: ((1,), (k,), (2 * k,)),
    lambda k, x: "fizz" if x % k == 0 else str(x),
)
GRADE = Family(
    "grade",
    ("grade", "verdict"),
    NAMES_ONE,
    (4, 6, 8),
    ("def {f}({a}):", "    if {a} >= {k}:", "        return 'pass'", "    return 'fail'"),
    ("say pass from {k} up, else fail", "pass if {a} is at least {k}, else fail"),
    (
        Bug("comparison", 2, "    if {a} > {k}:"),
        Bug("comparison", 2, "    if {a} <= {k}:"),
        Bug("constant", 2, "    if {a} >= {k_next}:"),
        Bug("constant", 3, "        return 'fail'"),
        Bug("constant", 4, "    return 'pass'"),
    ),
    _around,
    lambda k, x: "pass" if x >= k else "fail",
)
IS_EMPTY = Family(
    "is_empty",
    ("is_empty", "nothing_in"),
    NAMES_LIST,
    (0,),
    ("def {f}({a}):", "    return len({a}) == 0"),
    ("tell if {a} is empty", "return True if {a} has no items"),
    (
        Bug("comparison", 2, "    return len({a}) != 0"),
        Bug("constant", 2, "    return len({a}) == 1"),
        Bug("comparison", 2, "    return len({a}) >= 0"),
    ),
    lambda _: (([],), ([4],), ([1, 2],)),
    lambda _, xs: len(xs) == 0,
)
HAS_ITEM = Family(
    "has_item",
    ("has_item", "includes"),
    NAMES_LIST,
    (3, 5, 7),
    ("def {f}({a}):", "    return {k} in {a}"),
    ("tell if {k} is in {a}", "return True if {a} has {k}"),
    (
        Bug("comparison", 2, "    return {k} not in {a}"),
        Bug("constant", 2, "    return {k_next} in {a}"),
        Bug("constant", 2, "    return {k_previous} in {a}"),
    ),
    lambda k: (([k],), ([k - 1, k + 1],), ([],)),
    lambda k, xs: k in xs,
)
SAME_ENDS = Family(
    "same_ends",
    ("same_ends", "closed"),
    (*NAMES_LIST, *NAMES_WORD),
    (0,),
    ("def {f}({a}):", "    return {a}[0] == {a}[-1]"),
    ("tell if {a} ends as it begins", "return True if both ends of {a} are the same"),
    (
        Bug("comparison", 2, "    return {a}[0] != {a}[-1]"),
        Bug("off_by_one", 2, "    return {a}[1] == {a}[-1]"),
        Bug("off_by_one", 2, "    return {a}[0] == {a}[-2]"),
    ),
    lambda _: (([1, 5, 1],), ([1, 1, 2],), ([2, 1, 1],)),
    lambda _, xs: xs[0] == xs[-1],
)
FAMILIES = (
    *(IS_EVEN, IS_ODD, DIVIDES, IS_POSITIVE, AT_LEAST, BELOW),
    *(FIZZ, GRADE, IS_EMPTY, HAS_ITEM, SAME_ENDS),
)
