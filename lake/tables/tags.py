"""Tags of Lance tables: what keeps cleanup away from a version.

**A tag is made once**: taken for another version, it stays as it is.
"""

from __future__ import annotations

from typing import Any

from lance import LanceDataset

from tracelake.lake.stores.location import raise_if_unavailable, was_reset
from tracelake.lake.tables.fsync import sync_tag
from tracelake.lake.tables.lance_errors import RACES_MAX, contended, is_gone, retry_on_conflict


def tags_of(dataset: LanceDataset) -> dict[str, Any]:
    """Tags with their versions. Lance lists names, then reads each: one that is removed in between is looked
    for in vain, and all are listed again."""
    return retry_on_conflict("listing the tags of a table", lambda: dict(dataset.tags.list()), is_gone)


def create_tag(dataset: LanceDataset, tag: str, version: int) -> bool:
    """Keep cleanup away from a version. False if the tag is taken for another version, or the version has
    gone. Raises StoreUnavailableError, CommitContendedError."""
    for _ in range(RACES_MAX):
        try:
            dataset.tags.create(tag, version)
        except (ValueError, OSError) as error:
            held = tags_of(dataset).get(tag, {}).get("version")
            if held is not None or is_gone(error):
                return held == version
            # A reset, or a 409 that Lance takes for a tag that is there.
            if not was_reset(error) and "conflict" not in str(error).lower():
                raise_if_unavailable(dataset.uri, error)
                raise
        else:
            sync_tag(dataset, tag)
            return True
    raise contended(f"tagging {dataset.uri.rsplit('/', 1)[-1]}")
