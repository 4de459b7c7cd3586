"""Goal: the error tree matches its drawing; every error has a readable message and survives pickling.

Method: the tree in the module docstring is parsed and compared with the classes.
"""

from __future__ import annotations

import builtins
import copy
import pickle
import re
from typing import NamedTuple

import pytest

from tracelake.schemas import errors
from tracelake.schemas.errors import GOT_LENGTH_MAX, TracelakeError, explain


class DrawnError(NamedTuple):
    """One line of the drawn tree."""

    name: str
    parent: str | None
    builtin: str | None


def drawn_tree() -> list[DrawnError]:
    lines: list[DrawnError] = []
    parents: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"((?:[│ ]   )*)(?:[├└]── )?(\w+Error)\b(?: \((\w+)\))?", line)
        if not match or not re.match(r"TracelakeError$|[│├└]", line):
            continue
        depth = 0 if line.startswith("Tracelake") else len(match[1]) // 4 + 1
        parents[depth:] = [match[2]]
        lines.append(DrawnError(match[2], parents[depth - 1] if depth else None, match[3]))
    return lines


def subclasses(cls: type[TracelakeError]) -> list[type[TracelakeError]]:
    below = [item for item in cls.__subclasses__() if item.__module__ == errors.__name__]
    return [cls, *(leaf for child in below for leaf in subclasses(child))]


CLASSES = subclasses(TracelakeError)


def test_the_drawn_tree_matches_the_classes() -> None:
    tree = {(cls.__name__, cls.__bases__[0].__name__) for cls in CLASSES if cls is not TracelakeError}
    assert {(line.name, line.parent) for line in drawn_tree() if line.parent} == tree
    assert {cls.__module__ for cls in CLASSES} == {"tracelake.schemas.errors"}


def test_each_class_inherits_the_builtin_error_that_the_tree_names() -> None:
    for line in drawn_tree():
        cls = getattr(errors, line.name)
        if line.builtin:
            assert issubclass(cls, getattr(builtins, line.builtin)), line
        own = [base for base in cls.__bases__ if base.__module__ == "builtins" and base is not Exception]
        assert [base.__name__ for base in own] == ([line.builtin] if line.builtin else []), line


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_survives_pickling_and_copying(cls: type[TracelakeError]) -> None:
    error = cls("what happened", got={"a": 1}, expected="something else", cure="Do this.")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):  # noqa: S301
        assert type(again) is cls
        assert str(again) == str(error) == "what happened; got {'a': 1}; expected something else. Do this."
        assert again.exit_code == error.exit_code


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_class_has_a_one_line_docstring(cls: type[TracelakeError]) -> None:
    assert cls.__doc__
    assert "\n" not in cls.__doc__.strip()


def test_failed_checks_and_an_exhausted_budget_have_their_own_exit_codes() -> None:
    codes = {cls.__name__: cls.exit_code for cls in CLASSES}
    assert {cls.exit_code for cls in subclasses(errors.CheckFailedError)} == {3}
    assert codes["BudgetExhaustedError"] == 4
    assert codes["SourceFormatError"] == codes["LakeMissingError"] == 1


def test_omitted_parts_are_left_out_of_the_message() -> None:
    assert explain("a") == "a"
    assert explain("a", cure="B.") == "a. B."
    assert explain("a", got=0) == "a; got 0"
    assert explain("a", got="", expected="c") == "a; got ; expected c"


def test_foreign_data_can_neither_flood_nor_control_a_terminal() -> None:
    message = explain("bad line", got="\x1b[2J\r\n" + "x" * 10**6)
    assert "\x1b" not in message
    assert "\n" not in message
    assert "\r" not in message
    assert len(message) < 2 * GOT_LENGTH_MAX
    assert f"({10**6 + 6} characters)" in message
    assert explain("lone", got="\ud800").encode() == rb"lone; got \ud800"
    assert explain("naïve → 日本") == "naïve → 日本"
