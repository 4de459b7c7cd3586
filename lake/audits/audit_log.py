"""What the log of landed files says that is not so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from tracelake.lake.audits.dependents import Dependents
from tracelake.lake.landed.log import tree_of
from tracelake.lake.layout import parse_landed_path
from tracelake.schemas.errors import BadInputError
from tracelake.schemas.pin import Pin


def log_problems(log: Sequence[str], landed: Sequence[str], dependents: Dependents) -> Iterator[str]:
    """Files that the log names and the lake lacks, lines that name no file, files that it names twice."""
    there = set(landed)
    for line, count in Counter(log).items():
        if count > 1:
            yield f"the log of landed files names {line} {count} times"
        if line not in there:
            yield f"{line} had landed and is missing{_depending(line, dependents)}"


def tree_problem(pin: Pin, log: Sequence[str]) -> str | None:
    """Null if the log begins with the files that the pin saw."""
    found = tree_of(log[: pin.landed.size])
    if found == pin.landed:
        return None
    return (
        f"pin {pin.reference}: the log of landed files is not the one of its time, "
        f"{found.size} lines with root {found.root}, not {pin.landed.size} with {pin.landed.root}"
    )


def _depending(line: str, dependents: Dependents) -> str:
    try:
        return dependents.told(parse_landed_path(line).kind, itself=True)
    except BadInputError:
        return " (it is no path of a landed file: the log is damaged)"
