"""The name of a fact: three hashes, made in `event.py`, carried by all that handles facts."""

from __future__ import annotations

from typing import NamedTuple


class EventIdentity(NamedTuple):
    """The three hashes that name a fact, hexadecimal SHA-256."""

    event_id: str
    key_hash: str
    payload_hash: str
