"""How a pin is called: `NAME@NUMBER`.

**Apart from the pin itself**, whose models take longer to load than everything that only has to know a name.
"""

from __future__ import annotations

import re

from tracelake.schemas.errors import BadInputError

# Names become folders and Lance tags; a tag must not hold two dots in a row.
NAME_PATTERN = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
# One spelling for each number: references are compared as text.
NUMBER_PATTERN = re.compile(r"0|[1-9][0-9]{0,17}")


def parse_reference(reference: str) -> tuple[str, int | None]:
    """`name@N` as (name, N), `name` as (name, None). Raises BadInputError."""
    name, at, number = reference.partition("@")
    if not NAME_PATTERN.fullmatch(name) or (at and not NUMBER_PATTERN.fullmatch(number)):
        raise BadInputError("not the name of a pin", got=reference, expected="NAME@NUMBER, such as pairs-a@1")
    return name, int(number) if at else None
