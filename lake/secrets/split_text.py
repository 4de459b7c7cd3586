"""Texts that a list has in pieces: the parts of a message, the chunks of a stream.

**Neighbours that have their text at the same place are pieces of one text.** Messages of a conversation are
not: each has a role, and is a text of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

# The JSON text of an event's fields contains one of these wherever a list has pieces (quotes are escaped).
SPLIT_TEXT_LITERALS = (
    r"text\"},{\"",
    r"},{\"text\":",
    r"thinking\"},{\"",
    r"delta\":",
    r"_delta\"},{\"",
    r"},{\"arguments\":",
)

_TEXT_PATHS: tuple[tuple[str | int, ...], ...] = (
    ("text",),
    ("thinking",),
    ("delta",),
    ("delta", "text"),
    ("delta", "thinking"),
    ("delta", "partial_json"),
    ("delta", "content"),
    ("choices", 0, "delta", "content"),
    ("choices", 0, "delta", "reasoning_content"),
    ("choices", 0, "delta", "tool_calls", 0, "function", "arguments"),
    ("content",),
    ("arguments",),
)


class TextPiece(NamedTuple):
    """The place of one piece: a dictionary or list, and the key or index in it."""

    container: Any
    name: str | int


class SplitText(NamedTuple):
    """One text in pieces."""

    pieces: list[TextPiece]
    texts: list[str]


def split_texts(items: list[Any]) -> Iterator[SplitText]:
    """Texts of two pieces or more among the items of a list."""
    if len(items) < 2 or not any(isinstance(item, dict) and "role" not in item for item in items):
        return
    for path in _TEXT_PATHS:
        split = SplitText([], [])
        for item in [*items, None]:
            piece = _piece_at(item, path)
            if piece is not None:
                split.pieces.append(piece)
                split.texts.append(piece.container[piece.name])
            else:
                if len(split.pieces) > 1:
                    yield split
                split = SplitText([], [])


def _piece_at(item: Any, path: tuple[str | int, ...]) -> TextPiece | None:
    if not isinstance(item, dict) or "role" in item:
        return None
    container: Any = cast("dict[str, Any]", item)
    for name in path[:-1]:
        container = _child(container, name)
    return TextPiece(container, path[-1]) if isinstance(_child(container, path[-1]), str) else None


def _child(container: Any, name: str | int) -> Any:
    if isinstance(name, int):
        return container[name] if isinstance(container, list) and len(container) > name else None
    return container.get(name) if isinstance(container, dict) else None
