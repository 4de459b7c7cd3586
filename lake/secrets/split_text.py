"""Texts that a message or a stream has in pieces: what belongs together in a list of parts.

**A run is a stretch of neighbours that keep their text at the same place.** Messages of a conversation are no
run: each has a role, and is a text of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

# Found in JSON text of an event's fields where a list has such parts; there quotes are escaped once.
PART_TRIGGERS = (
    r"text\"},{\"",
    r"},{\"text\":",
    r"thinking\"},{\"",
    r"delta\":",
    r"_delta\"},{\"",
    r"},{\"arguments\":",
)

_PLACES: tuple[tuple[str | int, ...], ...] = (
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


class Part(NamedTuple):
    """Where one piece of text is."""

    holder: Any
    name: str | int


class Run(NamedTuple):
    """Neighbours whose texts are one text."""

    parts: list[Part]
    texts: list[str]


def part_runs(items: list[Any]) -> Iterator[Run]:
    """Runs of two parts or more, at each place where parts keep text."""
    if len(items) < 2 or not any(isinstance(item, dict) and "role" not in item for item in items):
        return
    for place in _PLACES:
        run = Run([], [])
        for item in [*items, None]:
            part = _part_at(item, place)
            if part is not None:
                run.parts.append(part)
                run.texts.append(part.holder[part.name])
            else:
                if len(run.parts) > 1:
                    yield run
                run = Run([], [])


def _part_at(item: Any, place: tuple[str | int, ...]) -> Part | None:
    if not isinstance(item, dict) or "role" in item:
        return None
    holder: Any = cast("dict[str, Any]", item)
    for name in place[:-1]:
        holder = _inside(holder, name)
    return Part(holder, place[-1]) if isinstance(_inside(holder, place[-1]), str) else None


def _inside(holder: Any, name: str | int) -> Any:
    if isinstance(name, int):
        return holder[name] if isinstance(holder, list) and len(holder) > name else None
    return holder.get(name) if isinstance(holder, dict) else None
