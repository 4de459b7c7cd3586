"""A family of tasks: a correct tiny function, ways to break it, and its expected results.

Templates are `str.format` texts with these fields: `f` the function's name, `a` `b` `c` its arguments, `k`
its constant, `k_next` and `k_previous` the constant's neighbours. A family without a constant has
`constants=(0,)`.

**Only `reference` defines the semantics**: expected values come from it, never from running a template.
**Every bug fails a test, and no bug's line repairs another bug**: tests check both for every task.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

NAMES_ONE = (("x",), ("n",), ("y",), ("num",), ("value",))
NAMES_TWO = tuple((first, second) for first in "abxy" for second in "abxy" if first != second)
NAMES_LIST = (("items",), ("values",), ("xs",), ("data",), ("nums",))
NAMES_WORD = (("text",), ("word",), ("name",), ("s",))


class Bug(NamedTuple):
    """A wrong line that replaces one line of the function."""

    kind: str
    """`operator`, `comparison`, `constant`, `off_by_one`, `wrong_variable`, `wrong_call`, `wrong_slice` or
    `order`.
    """
    line: int
    """From 1, the `def` line."""
    text: str
    """Template of the whole line, with its indent."""


class Family(NamedTuple):
    """A correct function and all its variations."""

    name: str
    function_names: tuple[str, ...]
    arguments: tuple[tuple[str, ...], ...]
    """Alternative argument names."""
    constants: tuple[int, ...]
    lines: tuple[str, ...]
    """Templates of the correct function, one per line."""
    intents: tuple[str, ...]
    """Templates of the issue, which says what the function must do."""
    bugs: tuple[Bug, ...]
    inputs: Callable[[int], tuple[tuple[Any, ...], ...]]
    """Constant → argument tuples of the tests."""
    reference: Callable[..., Any]
    """(constant, *arguments) → what the function must return."""


def names_of(family: Family, function_name: str, arguments: tuple[str, ...], constant: int) -> dict[str, Any]:
    """The fields for a family's templates."""
    fields: dict[str, Any] = dict(zip("abc", arguments, strict=False))
    return fields | {
        "f": function_name,
        "k": constant,
        "k_next": constant + 1,
        "k_previous": constant - 1,
    }
