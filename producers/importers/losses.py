"""What an import left out or could not place. The report lists it: nothing is dropped in silence."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Losses:
    """What an import left out or could not place, each counted by the path of its key."""

    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(path, reason) of keys left out on purpose."""
    extra: Counter[str] = field(default_factory=Counter)
    """Paths of keys that no field holds; they are in `extra_json`."""
    notes: Counter[str] = field(default_factory=Counter)
    """What an importer assumed."""

    def add(self, other: Losses) -> None:
        self.dropped.update(other.dropped)
        self.extra.update(other.extra)
        self.notes.update(other.notes)
