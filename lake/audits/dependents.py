"""What stands on a table: derived tables through what they say that they were derived from, and pins."""

from __future__ import annotations

from collections.abc import Sequence

from tracelake.lake.pins.manifests import manifest_paths, read_manifest
from tracelake.lake.stores.store import ObjectStore
from tracelake.lake.tables.care import typed_panics
from tracelake.lake.tables.derived import derived_note, table_names
from tracelake.schemas.errors import TracelakeError
from tracelake.schemas.pin import Pin


class Dependents:
    """As the lake was when it was made. What cannot be read depends on nothing."""

    def __init__(self, store: ObjectStore) -> None:
        self._inputs = {name: _inputs(store, name) for name in table_names(store)}
        self._pins = [pin for path in manifest_paths(store) if (pin := _pin(store, path)) is not None]

    def tables(self, name: str) -> list[str]:
        """Derived tables that stand on the table, through any number of derivations; sorted."""
        found: set[str] = set()
        waiting = [name]
        while waiting:
            below = waiting.pop()
            above = {table for table, inputs in self._inputs.items() if below in inputs} - found
            found |= above
            waiting.extend(above)
        return sorted(found)

    def pins(self, names: Sequence[str]) -> list[str]:
        """References of the pins that hold one of the tables."""
        return [pin.reference for pin in self._pins if not pin.tables.keys().isdisjoint(names)]

    def told(self, name: str, *, itself: bool = False) -> str:
        """As the end of a sentence about the table; `itself` if the table too depends on what is damaged."""
        tables = self.tables(name)
        pins = self.pins([name, *tables])
        parts = [
            f"{what} {', '.join(names)}"
            for what, names in (("tables", [name, *tables] if itself else tables), ("pins", pins))
            if names
        ]
        return f" (on which depend: {'; '.join(parts)})" if parts else ""


def _inputs(store: ObjectStore, name: str) -> frozenset[str]:
    try:
        with typed_panics(name):
            note = derived_note(store, name)
    except (TracelakeError, OSError, ValueError):
        return frozenset()
    return frozenset() if note is None else frozenset(note.inputs)


def _pin(store: ObjectStore, path: str) -> Pin | None:
    try:
        return read_manifest(store, path)
    except TracelakeError:
        return None
