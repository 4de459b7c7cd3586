"""The bytes of a landed file, checked against the hash in its name."""

from __future__ import annotations

import hashlib

from tracelake.lake.layout import parse_landed_path
from tracelake.lake.stores.store import ObjectStore
from tracelake.schemas.errors import CorruptFileError


def read_verified(store: ObjectStore, path: str) -> bytes:
    """A landed file's bytes. Raises CorruptFileError if they do not match the hash in its name."""
    data = store.read(path)
    expected, found = parse_landed_path(path).sha256, hashlib.sha256(data).hexdigest()
    if found != expected:
        raise CorruptFileError(
            f"landed file {path} is damaged",
            got=f"sha256 {found}",
            expected=f"sha256 {expected}",
            cure="Restore the file from a copy; `tracelake verify --deep` lists what depends on it.",
        )
    return data
