"""Whether the model that answered is the requested one.

**The rule.** Names are compared without case and without a router's variant (`:free`). They are of one model
if their authors agree, where both name one; their words agree in any order, their numbers in the same order
(`claude-sonnet-4.5`, `claude-4.5-sonnet`); and their dates agree, where both have one. So a dated name of the
requested family is the requested model, and so is an answer without a date; another date is not.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

_DATE = re.compile(r"[-@](20\d\d-\d\d-\d\d|20\d{6}|\d{6}|\d\d-\d\d|\d{4})$")
_VARIANT = re.compile(r":(free|batch|nitro|floor|exacto|extended|beta)$")
_WORD = re.compile(r"[a-z0-9]+")


class _Name(NamedTuple):
    author: str | None
    words: list[str]
    numbers: list[str]
    date: str | None


@lru_cache(maxsize=1024)
def is_same_model(asked: str, served: str) -> bool:
    """Whether an answer by `served` counts as one by `asked`."""
    if asked == served:
        return True
    one, other = _parsed(asked), _parsed(served)
    if one.author and other.author and one.author != other.author:
        return False
    if one.date and other.date and not (one.date.endswith(other.date) or other.date.endswith(one.date)):
        return False
    return (one.words, one.numbers) == (other.words, other.numbers)


def _parsed(name: str) -> _Name:
    author, _, rest = name.lower().rpartition("/")
    rest = _VARIANT.sub("", rest)
    dated = _DATE.search(rest)
    words = _WORD.findall(rest[: dated.start()] if dated else rest)
    numbers = [word for word in words if word[0].isdecimal()]
    letters = sorted(word for word in words if not word[0].isdecimal())
    date = dated[1].replace("-", "") if dated else None
    return _Name(author.rpartition("/")[2] or None, letters, numbers, date)
