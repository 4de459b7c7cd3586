"""References to pins: `NAME@NUMBER`.

Separate from `pin.py`, because its pydantic models load slowly and many callers need the names only.
"""

from __future__ import annotations

import re

from tracelake.schemas.errors import BadInputError

# Names become folders and Lance tags, and a tag must not contain two dots in a row.
NAME_PATTERN = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
# References are compared as text, so each number has one spelling.
NUMBER_PATTERN = re.compile(r"0|[1-9][0-9]{0,17}")


def parse_reference(reference: str) -> tuple[str, int | None]:
    """`name@N` as (name, N), `name` as (name, None). Raises BadInputError."""
    name, at, number = reference.partition("@")
    if not NAME_PATTERN.fullmatch(name) or (at and not NUMBER_PATTERN.fullmatch(number)):
        raise BadInputError("not a pin reference", got=reference, expected="NAME@NUMBER, such as pairs-a@1")
    return name, int(number) if at else None
