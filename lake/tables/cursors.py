"""Where a projection stands: the last sequence number that it took from each writer's epoch.

**The cursor travels with the rows**, in the table's own metadata; each commit writes all of that again. So
what it says of many epochs is folded into a file named by its hash, and the metadata names the file.
**A folded file is durable before a commit names it.** One that is missing costs time and no truth: its
epochs are read again, and the table knows their events.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import NamedTuple

from tracelake.lake.layout import cursor_path
from tracelake.lake.stores.store import ObjectStore
from tracelake.schemas.canonical import canonical_json, sha256_hex
from tracelake.schemas.errors import LakeMissingError

FOLD_AT = 64
FOLDED = "folded/"
# The file before the last is kept for one fold more: a racing projector may be reading it.
FOLDED_BEFORE = "folded-before/"

Cursor = dict[str, int]
"""Epoch to last sequence number."""


class Noted(NamedTuple):
    """A cursor in the form in which a table's metadata holds it."""

    note: Cursor
    """Epochs, and the folded files as `folded/SHA256` to the number of their epochs."""
    outdated: str | None
    """A folded file that nothing needs once the note is committed."""


def read_cursor(store: ObjectStore, kind: str, note: Cursor) -> Cursor:
    """All epochs, those of the folded file too."""
    cursor: Cursor = {}
    for key in note:
        if key.startswith(FOLDED):
            cursor |= _folded(store, cursor_path(kind, key.removeprefix(FOLDED)))
    return cursor | _own(note)


def noted(store: ObjectStore, kind: str, note: Cursor, reached: Cursor) -> Noted:
    """The note after more was taken; epochs are folded when they have become many."""
    kept = {key: value for key, value in note.items() if key.startswith((FOLDED, FOLDED_BEFORE))}
    own = _own(note) | reached
    if len(own) <= FOLD_AT:
        return Noted(kept | own, None)
    whole = read_cursor(store, kind, note) | reached
    data = canonical_json(whole)
    name = sha256_hex(data)
    path = cursor_path(kind, name)
    if not store.put_new(path, data) and store.read(path) != data:
        # A damaged one under this name would be read as nothing, for ever.
        store.delete(path)
        store.put_new(path, data)
    # A file that was lost and is made again has its old name: it is not outdated.
    older = [key for key in kept if key.rpartition("/")[2] != name]
    before = {FOLDED_BEFORE + key.removeprefix(FOLDED): 0 for key in older if key.startswith(FOLDED)}
    outdated = [key.removeprefix(FOLDED_BEFORE) for key in older if key.startswith(FOLDED_BEFORE)]
    return Noted({FOLDED + name: len(whole)} | before, cursor_path(kind, outdated[0]) if outdated else None)


def _own(note: Cursor) -> Cursor:
    return {key: value for key, value in note.items() if not key.startswith((FOLDED, FOLDED_BEFORE))}


@lru_cache(maxsize=128)
def _checked(path: str, data: bytes) -> Cursor:
    # Bytes that are not those of the name say nothing that can be relied on.
    return json.loads(data) if sha256_hex(data) in path else {}


def _folded(store: ObjectStore, path: str) -> Cursor:
    try:
        return _checked(path, store.read(path))
    except LakeMissingError:
        return {}
