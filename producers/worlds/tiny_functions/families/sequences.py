"""Families that read or reshape a list or a text."""

from __future__ import annotations

from tracelake.producers.worlds.tiny_functions.families.family import NAMES_LIST, NAMES_WORD, Bug, Family

LAST_ITEM = Family(
    "last_item",
    ("last_item", "final"),
    NAMES_LIST,
    (0,),
    ("def {f}({a}):", "    return {a}[-1]"),
    ("return the last of {a}", "return the item that ends {a}"),
    (
        Bug("off_by_one", 2, "    return {a}[-2]"),
        Bug("constant", 2, "    return {a}[0]"),
        Bug("wrong_slice", 2, "    return {a}[-1:]"),
    ),
    lambda _: (([1, 2, 3],), ([4, 5],), ([7, 8, 9],)),
    lambda _, xs: xs[-1],
)
FIRST_ITEM = Family(
    "first_item",
    ("first_item", "head"),
    NAMES_LIST,
    (0,),
    ("def {f}({a}):", "    return {a}[0]"),
    ("return the first of {a}", "return the item that begins {a}"),
    (
        Bug("off_by_one", 2, "    return {a}[1]"),
        Bug("constant", 2, "    return {a}[-1]"),
        Bug("wrong_slice", 2, "    return {a}[:1]"),
    ),
    lambda _: (([1, 2, 3],), ([4, 5],), ([7, 8, 9],)),
    lambda _, xs: xs[0],
)
LARGEST = Family(
    "largest",
    ("largest", "top"),
    NAMES_LIST,
    (0,),
    ("def {f}({a}):", "    return max({a})"),
    ("return the largest of {a}", "return the greatest item of {a}"),
    (
        Bug("wrong_call", 2, "    return min({a})"),
        Bug("wrong_call", 2, "    return sum({a})"),
        Bug("wrong_call", 2, "    return len({a})"),
    ),
    lambda _: (([1, 2, 3],), ([9, 5],), ([4, 8, 6],)),
    lambda _, xs: max(xs),
)
SMALLEST = Family(
    "smallest",
    ("smallest", "bottom"),
    NAMES_LIST,
    (0,),
    ("def {f}({a}):", "    return min({a})"),
    ("return the smallest of {a}", "return the least item of {a}"),
    (
        Bug("wrong_call", 2, "    return max({a})"),
        Bug("wrong_call", 2, "    return sum({a})"),
        Bug("wrong_call", 2, "    return len({a})"),
    ),
    lambda _: (([1, 2, 3],), ([9, 5],), ([4, 8, 6],)),
    lambda _, xs: min(xs),
)
SPREAD = Family(
    "spread",
    ("spread", "range_of"),
    NAMES_LIST,
    (0,),
    ("def {f}({a}):", "    return max({a}) - min({a})"),
    ("return the largest of {a} less the smallest", "return how far apart {a} are"),
    (
        Bug("operator", 2, "    return max({a}) + min({a})"),
        Bug("order", 2, "    return min({a}) - max({a})"),
        Bug("off_by_one", 2, "    return max({a}) - min({a}) - 1"),
    ),
    lambda _: (([1, 2, 3],), ([9, 5],), ([4, 8, 6],)),
    lambda _, xs: max(xs) - min(xs),
)
COUNT_POSITIVE = Family(
    "count_positive",
    ("count_positive", "how_many_up"),
    NAMES_LIST,
    (0,),
    ("def {f}({a}):", "    return sum(1 for i in {a} if i > 0)"),
    ("count the items of {a} above 0", "return how many of {a} are positive"),
    (
        Bug("comparison", 2, "    return sum(1 for i in {a} if i < 0)"),
        Bug("comparison", 2, "    return sum(1 for i in {a} if i >= 0)"),
        Bug("constant", 2, "    return sum(2 for i in {a} if i > 0)"),
        Bug("wrong_variable", 2, "    return sum(i for i in {a} if i > 0)"),
    ),
    lambda _: (([0, 5],), ([-1, 2, 3],), ([-4, 0],)),
    lambda _, xs: sum(1 for x in xs if x > 0),
)
COUNT_ABOVE = Family(
    "count_above",
    ("count_above", "how_many_over"),
    NAMES_LIST,
    (3, 5, 6),
    ("def {f}({a}):", "    return sum(1 for i in {a} if i > {k})"),
    ("count the items of {a} above {k}", "return how many of {a} are over {k}"),
    (
        Bug("comparison", 2, "    return sum(1 for i in {a} if i < {k})"),
        Bug("comparison", 2, "    return sum(1 for i in {a} if i >= {k})"),
        Bug("constant", 2, "    return sum(1 for i in {a} if i > {k_next})"),
        Bug("constant", 2, "    return sum(2 for i in {a} if i > {k})"),
    ),
    lambda k: (([k, 9],), ([k + 1, 0],), ([k - 1, k, 9],)),
    lambda k, xs: sum(1 for x in xs if x > k),
)
TOTAL = Family(
    "total",
    ("total", "sum_up"),
    NAMES_LIST,
    (0,),
    ("def {f}({a}):", "    t = 0", "    for i in {a}:", "        t += i", "    return t"),
    ("return the sum of {a}", "add up all of {a}"),
    (
        Bug("constant", 2, "    t = 1"),
        Bug("operator", 4, "        t -= i"),
        Bug("wrong_variable", 4, "        t += 1"),
        Bug("wrong_variable", 5, "    return i"),
    ),
    lambda _: (([1, 2, 3],), ([4, 4],), ([0, 9],)),
    lambda _, xs: sum(xs),
)
PRODUCT = Family(
    "product",
    ("product", "multiply_all"),
    NAMES_LIST,
    (0,),
    ("def {f}({a}):", "    t = 1", "    for i in {a}:", "        t *= i", "    return t"),
    ("return the product of {a}", "multiply all of {a}"),
    (
        Bug("constant", 2, "    t = 0"),
        Bug("operator", 4, "        t += i"),
        Bug("off_by_one", 5, "    return t + 1"),
        Bug("wrong_variable", 5, "    return i"),
    ),
    lambda _: (([2, 2, 3],), ([4, 4],), ([2, 9],)),
    lambda _, xs: _product(xs),
)
TAKE = Family(
    "take",
    ("take", "first_few"),
    (*NAMES_LIST, *NAMES_WORD),
    (2, 3, 4),
    ("def {f}({a}):", "    return {a}[:{k}]"),
    ("return the first {k} of {a}", "keep only {k} from the start of {a}"),
    (
        Bug("off_by_one", 2, "    return {a}[:{k_next}]"),
        Bug("wrong_slice", 2, "    return {a}[{k}:]"),
        Bug("off_by_one", 2, "    return {a}[:{k_previous}]"),
        Bug("wrong_slice", 2, "    return {a}[:-{k}]"),
    ),
    lambda _: (([1, 2, 3, 4, 5],), ([7, 8, 9, 1, 2],)),
    lambda k, xs: xs[:k],
)
SKIP = Family(
    "skip",
    ("skip", "rest"),
    (*NAMES_LIST, *NAMES_WORD),
    (2, 3, 4),
    ("def {f}({a}):", "    return {a}[{k}:]"),
    ("return {a} without the first {k}", "drop {k} from the start of {a}"),
    (
        Bug("off_by_one", 2, "    return {a}[{k_next}:]"),
        Bug("wrong_slice", 2, "    return {a}[:{k}]"),
        Bug("off_by_one", 2, "    return {a}[{k_previous}:]"),
        Bug("wrong_slice", 2, "    return {a}[-{k}:]"),
    ),
    lambda _: (([1, 2, 3, 4, 5, 6, 7],), ([7, 8, 9, 1, 2],)),
    lambda k, xs: xs[k:],
)
BACKWARDS = Family(
    "backwards",
    ("backwards", "turned"),
    (*NAMES_LIST, *NAMES_WORD),
    (0,),
    ("def {f}({a}):", "    return {a}[::-1]"),
    ("return {a} from end to start", "reverse {a}"),
    (
        Bug("wrong_slice", 2, "    return {a}[::1]"),
        Bug("wrong_slice", 2, "    return {a}[:-1]"),
        Bug("wrong_slice", 2, "    return {a}[::-2]"),
    ),
    lambda _: (([1, 2, 3],), ([4, 5],)),
    lambda _, xs: xs[::-1],
)
EVENS = Family(
    "evens",
    ("evens", "keep_even"),
    NAMES_LIST,
    (0,),
    ("def {f}({a}):", "    return [i for i in {a} if i % 2 == 0]"),
    ("return the even items of {a}", "keep what 2 divides in {a}"),
    (
        Bug("constant", 2, "    return [i for i in {a} if i % 2 == 1]"),
        Bug("constant", 2, "    return [i for i in {a} if i % 3 == 0]"),
        Bug("operator", 2, "    return [i for i in {a} if i // 2 == 0]"),
    ),
    lambda _: (([1, 2, 4],), ([3, 8],), ([6, 5],)),
    lambda _, xs: [x for x in xs if x % 2 == 0],
)
REPEAT = Family(
    "repeat",
    ("repeat", "echo"),
    NAMES_WORD,
    (3, 4, 5),
    ("def {f}({a}):", "    return {a} * {k}"),
    ("return {a} repeated {k} times", "say {a} {k} times"),
    (
        Bug("constant", 2, "    return {a} * {k_next}"),
        Bug("constant", 2, "    return {a} * {k_previous}"),
        Bug("operator", 2, "    return {a} + {a}"),
    ),
    lambda _: (("a",), ("go",)),
    lambda k, text: text * k,
)


def _product(numbers: list[int]) -> int:
    product = 1
    for number in numbers:
        product *= number
    return product


FAMILIES = (
    *(LAST_ITEM, FIRST_ITEM, LARGEST, SMALLEST, SPREAD, COUNT_POSITIVE, COUNT_ABOVE),
    *(TOTAL, PRODUCT, TAKE, SKIP, BACKWARDS, EVENS, REPEAT),
)
