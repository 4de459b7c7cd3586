"""How far a projection has read: the last sequence number that it took from each writer's epoch.

**The cursor is stored in the table's own metadata, with the rows**, and every commit writes all of it again.
So the epochs of a long cursor are moved into a file named by its hash, and the metadata names the file.
**A cursor file is durable before a commit names it.** A missing file costs time, not correctness: its epochs
are read again, and rows that the table already contains are skipped.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import NamedTuple

from tracelake.lake.layout import cursor_path
from tracelake.lake.stores.store import ObjectStore
from tracelake.schemas.canonical import canonical_json, sha256_hex
from tracelake.schemas.errors import LakeMissingError

EPOCHS_IN_NOTE_MAX = 64
# Key prefixes of a note, before the hash of a cursor file.
FILE = "file/"
# The previous file stays until the next one is written: a racing projector may be reading it.
PREVIOUS_FILE = "previous-file/"

Cursor = dict[str, int]
"""Epoch to last sequence number."""


class CursorNote(NamedTuple):
    """A cursor as a table's metadata stores it."""

    note: Cursor
    """Epochs, and cursor files as `file/SHA256` to the number of their epochs."""
    obsolete_file: str | None
    """A cursor file to delete once the note is committed."""


def read_cursor(store: ObjectStore, kind: str, note: Cursor) -> Cursor:
    """All epochs, those in the cursor file too."""
    cursor: Cursor = {}
    for key in note:
        if key.startswith(FILE):
            cursor |= _read_file(store, cursor_path(kind, key.removeprefix(FILE)))
    return cursor | _epochs_in(note)


def advance_note(store: ObjectStore, kind: str, note: Cursor, reached: Cursor) -> CursorNote:
    """The note after a projection has reached these numbers; many epochs move into a file."""
    files = {key: value for key, value in note.items() if key.startswith((FILE, PREVIOUS_FILE))}
    epochs = _epochs_in(note) | reached
    if len(epochs) <= EPOCHS_IN_NOTE_MAX:
        return CursorNote(files | epochs, None)
    whole = read_cursor(store, kind, note) | reached
    data = canonical_json(whole)
    name = sha256_hex(data)
    path = cursor_path(kind, name)
    if not store.put_new(path, data) and store.read(path) != data:
        # A damaged file under this name would always be read as an empty cursor.
        store.delete(path)
        store.put_new(path, data)
    # A lost file that is written again has its old name: it is not obsolete.
    older = [key for key in files if key.rpartition("/")[2] != name]
    previous = {PREVIOUS_FILE + key.removeprefix(FILE): 0 for key in older if key.startswith(FILE)}
    obsolete = [key.removeprefix(PREVIOUS_FILE) for key in older if key.startswith(PREVIOUS_FILE)]
    return CursorNote(
        {FILE + name: len(whole)} | previous, cursor_path(kind, obsolete[0]) if obsolete else None
    )


def _epochs_in(note: Cursor) -> Cursor:
    return {key: value for key, value in note.items() if not key.startswith((FILE, PREVIOUS_FILE))}


@lru_cache(maxsize=128)
def _parse_checked(path: str, data: bytes) -> Cursor:
    # Bytes that do not match the hash in the name are ignored.
    return json.loads(data) if sha256_hex(data) in path else {}


def _read_file(store: ObjectStore, path: str) -> Cursor:
    try:
        return _parse_checked(path, store.read(path))
    except LakeMissingError:
        return {}
