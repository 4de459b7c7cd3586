"""What a family of tasks is: a correct tiny function, the ways it can be broken, and what it should return.

Templates are `str.format` texts with these fields: `f` the function's name, `a` `b` `c` its arguments, `k`
its constant, `k_next` and `k_previous` the constant's neighbours. A family without a constant has
`constants=(0,)`.

**Semantics live in `reference` alone**: expected values come from it, never from running a template.
**Every bug fails a test, and no bug's line repairs another bug**: a property test holds both for every task
of the world.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

NAMES_ONE = (("x",), ("n",), ("y",), ("num",), ("value",))
NAMES_TWO = tuple((first, second) for first in "abxy" for second in "abxy" if first != second)
NAMES_LIST = (("items",), ("values",), ("xs",), ("data",), ("nums",))
NAMES_WORD = (("text",), ("word",), ("name",), ("s",))


class Bug(NamedTuple):
    """One line of the function, replaced by a wrong one."""

    kind: str
    """`operator`, `comparison`, `constant`, `off_by_one`, `wrong_variable`, `wrong_call`, `wrong_slice` or
    `order`.
    """
    line: int
    """From 1, the `def` line."""
    text: str
    """Template of the whole line, with its indent."""


class Family(NamedTuple):
    """A correct function and everything that varies about it."""

    name: str
    function_names: tuple[str, ...]
    arguments: tuple[tuple[str, ...], ...]
    """Alternative argument names."""
    constants: tuple[int, ...]
    lines: tuple[str, ...]
    """Templates of the correct function, one per line."""
    intents: tuple[str, ...]
    """Templates of the issue: what the function must do."""
    bugs: tuple[Bug, ...]
    inputs: Callable[[int], tuple[tuple[Any, ...], ...]]
    """Constant → argument tuples of the tests."""
    reference: Callable[..., Any]
    """(constant, *arguments) → what the function must return."""


def names_of(family: Family, function_name: str, arguments: tuple[str, ...], constant: int) -> dict[str, Any]:
    """The fields that a family's templates are filled with."""
    fields: dict[str, Any] = dict(zip("abc", arguments, strict=False))
    return fields | {
        "f": function_name,
        "k": constant,
        "k_next": constant + 1,
        "k_previous": constant - 1,
    }
