"""Which derived tables and pins depend on a table. Derived tables name their inputs in their note."""

from __future__ import annotations

from collections.abc import Sequence

from tracelake.lake.pins.manifests import manifest_paths, read_manifest
from tracelake.lake.stores.store import ObjectStore
from tracelake.lake.tables.derived import derived_note, table_names
from tracelake.lake.tables.lance_errors import panics_as_errors
from tracelake.schemas.errors import TracelakeError
from tracelake.schemas.pin import Pin


class Dependents:
    """Of the lake at the time of construction. Unreadable tables and pins are left out."""

    def __init__(self, store: ObjectStore) -> None:
        self._inputs = {name: _inputs(store, name) for name in table_names(store)}
        self._pins = [pin for path in manifest_paths(store) if (pin := _pin(store, path)) is not None]

    def tables(self, name: str) -> list[str]:
        """Derived tables that depend on the table, through any number of derivations; sorted."""
        found: set[str] = set()
        queue = [name]
        while queue:
            source = queue.pop()
            derived = {table for table, inputs in self._inputs.items() if source in inputs} - found
            found |= derived
            queue.extend(derived)
        return sorted(found)

    def pins(self, names: Sequence[str]) -> list[str]:
        """References of the pins that contain one of the tables."""
        return [pin.reference for pin in self._pins if not pin.tables.keys().isdisjoint(names)]

    def suffix(self, name: str, *, include_table: bool = False) -> str:
        """The end of a sentence about a problem: what depends on the table, and with `include_table` the
        table itself."""
        tables = self.tables(name)
        pins = self.pins([name, *tables])
        parts = [
            f"{what} {', '.join(names)}"
            for what, names in (("tables", [name, *tables] if include_table else tables), ("pins", pins))
            if names
        ]
        return f" (on which depend: {'; '.join(parts)})" if parts else ""


def _inputs(store: ObjectStore, name: str) -> frozenset[str]:
    try:
        with panics_as_errors(name):
            note = derived_note(store, name)
    except (TracelakeError, OSError, ValueError):
        return frozenset()
    return frozenset() if note is None else frozenset(note.inputs)


def _pin(store: ObjectStore, path: str) -> Pin | None:
    try:
        return read_manifest(store, path)
    except TracelakeError:
        return None
