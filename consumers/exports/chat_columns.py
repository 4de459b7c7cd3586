"""Messages in the form that TRL reads: lists of plain messages, with arguments as objects.

**Columns have Parquet's JSON type**, which `datasets` reads as Python values. A column of structs would give
every tool call the arguments of all others.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
import pyarrow as pa

from tracelake.consumers.plain_message import plain_message
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.message import Message

MESSAGES = pa.list_(pa.json_(pa.string()))
"""Type of a column of conversations."""


def messages_column(messages: Iterable[Message]) -> list[str]:
    """One value of a column of type `MESSAGES`."""
    return [canonical_text(plain_message(message)) for message in messages]


def messages_of(text: str) -> list[Message]:
    return orjson.loads(text)


def action_of(text: str) -> Message:
    """An action of the lake as an assistant message."""
    action: dict[str, Any] = orjson.loads(text)
    return {**action, "role": "assistant"}
