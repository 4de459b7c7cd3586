"""Goal: the error tree is what its page says, and every error reads well and crosses processes.

Method: the tree drawn in the docstring is parsed and compared with the classes.
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


class Drawn(NamedTuple):
    """One line of the tree."""

    name: str
    parent: str | None
    kin: str | None


def drawn_tree() -> list[Drawn]:
    lines: list[Drawn] = []
    parents: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"((?:[│ ]   )*)(?:[├└]── )?(\w+Error)\b(?: \((\w+)\))?", line)
        if not match or not re.match(r"TracelakeError$|[│├└]", line):
            continue
        depth = 0 if line.startswith("Tracelake") else len(match[1]) // 4 + 1
        parents[depth:] = [match[2]]
        lines.append(Drawn(match[2], parents[depth - 1] if depth else None, match[3]))
    return lines


def subclasses(cls: type[TracelakeError]) -> list[type[TracelakeError]]:
    below = [item for item in cls.__subclasses__() if item.__module__ == errors.__name__]
    return [cls, *(leaf for child in below for leaf in subclasses(child))]


CLASSES = subclasses(TracelakeError)


def test_the_drawn_tree_is_the_tree_of_classes() -> None:
    tree = {(cls.__name__, cls.__bases__[0].__name__) for cls in CLASSES if cls is not TracelakeError}
    assert {(line.name, line.parent) for line in drawn_tree() if line.parent} == tree
    assert {cls.__module__ for cls in CLASSES} == {"tracelake.schemas.errors"}


def test_each_class_is_kin_to_the_standard_error_that_the_tree_names() -> None:
    for line in drawn_tree():
        cls = getattr(errors, line.name)
        if line.kin:
            assert issubclass(cls, getattr(builtins, line.kin)), line
        own = [base for base in cls.__bases__ if base.__module__ == "builtins" and base is not Exception]
        assert [base.__name__ for base in own] == ([line.kin] if line.kin else []), line


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_crosses_a_process_border(cls: type[TracelakeError]) -> None:
    error = cls("what happened", got={"a": 1}, expected="something else", cure="Do this.")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):  # noqa: S301
        assert type(again) is cls
        assert str(again) == str(error) == "what happened; got {'a': 1}; expected something else. Do this."
        assert again.exit_code == error.exit_code


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_class_has_a_line_of_its_own(cls: type[TracelakeError]) -> None:
    assert cls.__doc__
    assert "\n" not in cls.__doc__.strip()


def test_exit_codes_tell_a_broken_promise_and_an_empty_purse_from_the_rest() -> None:
    codes = {cls.__name__: cls.exit_code for cls in CLASSES}
    assert {cls.exit_code for cls in subclasses(errors.CheckFailedError)} == {3}
    assert codes["BudgetExhaustedError"] == 4
    assert codes["SourceFormatError"] == codes["LakeMissingError"] == 1


def test_parts_that_are_not_given_leave_no_trace() -> None:
    assert explain("a") == "a"
    assert explain("a", cure="B.") == "a. B."
    assert explain("a", got=0) == "a; got 0"
    assert explain("a", got="", expected="c") == "a; got ; expected c"


def test_foreign_data_can_neither_flood_nor_steer_a_terminal() -> None:
    message = explain("bad line", got="\x1b[2J\r\n" + "x" * 10**6)
    assert "\x1b" not in message
    assert "\n" not in message
    assert "\r" not in message
    assert len(message) < 2 * GOT_LENGTH_MAX
    assert f"({10**6 + 6} characters)" in message
    assert explain("lone", got="\ud800").encode() == rb"lone; got \ud800"
    assert explain("naïve → 日本") == "naïve → 日本"
