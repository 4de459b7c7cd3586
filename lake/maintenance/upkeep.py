"""When a table is put in order, and what is kept of it."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple


class Upkeep(NamedTuple):
    """The limits; sizes are those of stored files."""

    fragments_max: int = 32
    """More of the newest fragments that can be merged are."""
    small_bytes: int = 2**16
    """A fragment of this size or less is merged with any."""
    fragment_bytes_max: int = 256 * 2**20
    """No merge makes a larger fragment."""
    batch_bytes: int = 8 * 2**20
    """Stored bytes that a merge holds at once, about."""
    versions_kept: int = 32
    """An event table's newest versions can be opened by number, however fast commits come."""
    version_age: timedelta = timedelta(minutes=1)
    """`maintain` leaves versions of an event table alone that are younger."""
    superseded_age: timedelta = timedelta(hours=1)
    """A reader that opened a version before a merge finds its files for this long at least."""
    derived_version_age: timedelta = timedelta(days=7)
    """As `version_age`, of a derived table."""


UPKEEP = Upkeep()
