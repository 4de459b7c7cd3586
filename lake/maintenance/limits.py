"""When a table is maintained, and which of its versions stay."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple


class MaintenanceLimits(NamedTuple):
    """Sizes are those of stored files."""

    fragments_max: int = 32
    """More mergeable fragments than this are merged."""
    small_bytes: int = 2**16
    """A fragment up to this size is merged with any other."""
    fragment_bytes_max: int = 256 * 2**20
    """No merge creates a larger fragment."""
    batch_bytes: int = 8 * 2**20
    """Approximate stored bytes that a merge has in memory at once."""
    newest_versions_min: int = 32
    """So many newest versions of an event table can be opened by number, however fast commits come."""
    version_age: timedelta = timedelta(minutes=1)
    """`maintain` does not remove younger versions of an event table."""
    superseded_age: timedelta = timedelta(hours=1)
    """A reader that opened a version before a merge can read its files for at least this long."""
    derived_version_age: timedelta = timedelta(days=7)
    """`version_age` for derived tables."""


DEFAULT_LIMITS = MaintenanceLimits()
