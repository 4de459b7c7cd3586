"""The pin: an immutable name for exact contents of several tables.

**The digest covers contents, never storage**: table digests, row counts, schemas, code and schema versions,
event counts. Compaction or a move changes the Lance versions, and the digest stays the same.
**`name@N` is created once**; the same name with other contents gets the next number.
**The seal covers the whole manifest**, every field, storage included.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from tracelake.schemas.canonical import hash_of

NEVER_LANDED = "empty"
"""In place of a digest among the inputs of a derived table: no event of the kind had landed."""


class PinnedTable(BaseModel):
    """One table at the version that the pin names."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    version: int
    """Lance version with the rows."""
    row_count: int
    """Rows of that version."""
    digest: str
    """SHA-256 over canonical rows in key order; of an event table over its sorted event ids."""
    schema_digest: str
    """SHA-256 over column names and logical types."""
    code_version: str | None = None
    """Version of the fold that derived it; null for event tables."""
    inputs: dict[str, str] = {}
    """Digest of each table that it was derived from."""
    parameters: dict[str, Any] = {}
    """Parameters of the derivation."""
    quarantined: tuple[str, ...] = ()
    """Of an event table: ids of events that conflicts and retractions leave out. Scans of the pin do too."""
    rows_digest: str | None = None
    """Of an event table: SHA-256 over every column of every row, the envelope included. Opening the pin
    compares it. Not part of the pin's digest, which does not depend on who wrote an event, or when."""


class KindCounts(BaseModel):
    """How many events of one kind the pin rests on."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    landed: int
    """Distinct events of the kind in its table."""
    conflicting: int
    """`ConflictFound` events about the kind."""
    rejected: int
    """Pieces of sources that were refused; counted under `rollout_started`, because they had no kind."""


class LandedTree(BaseModel):
    """All landed files at one time, as a Merkle tree (RFC 6962) over the log of landed files."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    size: int
    """Number of landed files: the tree covers as many lines from the start of the log."""
    root: str
    """Hexadecimal root over these lines. Someone who saves it can later prove which files the pin saw."""


class RunCounts(BaseModel):
    """Outcomes of one run's events whose payload lengths fall into one bucket."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    run_id: str
    """The run that wrote them."""
    bucket: str
    """Range of lengths of the canonical payload."""
    given: int
    """Events that producers gave to writers that have closed."""
    landed: int
    duplicate: int
    """Events that the lake had already."""
    conflict: int
    """Events with another payload under a known key; both payloads stay in the lake."""
    rejected: int
    """Pieces of sources that were refused and reported as `EventRejected`."""
    lost: int
    """Events that a full queue dropped, because its producer must not wait."""
    rows: int
    """Rows in landed files, the `ConflictFound` events that the lake adds included."""


MANIFEST_FORMAT = 2


class Pin(BaseModel):
    """The contents of a manifest file."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    """The name that the pin was created under."""
    number: int
    """Counts the contents that the name has had, from 1."""
    digest: str
    """SHA-256 over tables, event counts and versions, and over nothing else that the lake holds."""
    tables: dict[str, PinnedTable]
    """By name of table."""
    ledger: dict[str, KindCounts]
    """Event counts by kind."""
    tracelake_version: str
    """The version of tracelake that created the pin."""
    schema_versions: dict[str, int]
    """Schema version of each kind in the ledger."""
    manifest_format: int
    """Format of the manifest itself."""
    landed: LandedTree
    """The files that had landed when the pin was created."""
    run_counts: tuple[RunCounts, ...]
    """The ledger of the whole lake, per run and payload length, when the pin was created."""
    seal: str | None = None
    """SHA-256 over every other field of the manifest; null only until the manifest is written."""

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.number}"


def pin_digest(
    tables: dict[str, PinnedTable],
    ledger: dict[str, KindCounts],
    tracelake_version: str,
    schema_versions: dict[str, int],
) -> str:
    """The content address. It leaves out `version` (storage) and `rows_digest` (the envelopes)."""
    return hash_of(
        {
            "tables": {
                name: table.model_dump(exclude={"version", "rows_digest"}) for name, table in tables.items()
            },
            "ledger": {kind: counts.model_dump() for kind, counts in ledger.items()},
            "tracelake_version": tracelake_version,
            "schema_versions": schema_versions,
        }
    )


def pin_seal(pin: Pin) -> str:
    """The value that `seal` must have."""
    return hash_of(pin.model_dump(mode="json", exclude={"seal"}))
