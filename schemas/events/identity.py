"""The identity of an event: three hashes, computed in `event.py`. This module does not load pydantic."""

from __future__ import annotations

from typing import NamedTuple


class EventIdentity(NamedTuple):
    """Three hexadecimal SHA-256 hashes."""

    event_id: str
    key_hash: str
    payload_hash: str
