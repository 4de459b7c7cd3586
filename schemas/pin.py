"""The pin: an immutable name for exact contents of several tables.

**The digest covers contents, never storage**: table digests, row counts, schemas, code and schema versions,
ledger. Lance versions are where the rows lie today; compaction or a move may change them and not the pin.
**`name@N` is created once**; the same name with other contents is the next number.
**The seal covers the manifest**: every field of it, storage too. Manifests of format 1 have none and stay
valid.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from tracelake.schemas.canonical import hash_of


class PinnedTable(BaseModel):
    """One table as it was when the pin was made."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    version: int
    """Lance version that holds the rows."""
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
    """Of an event table: ids of events that stand in conflict. Scans of the pin leave them out."""
    rows_digest: str | None = None
    """Of an event table: over every column of every row, the envelope too. Opening the pin compares it; who
    told an event, and when, is no part of what the pin is."""


class LedgerLine(BaseModel):
    """How many events of one kind stand behind the pin."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    landed: int
    """Distinct events of the kind in its table."""
    conflicting: int
    """Conflicts told about the kind."""
    rejected: int
    """Pieces of sources that were refused; counted where rollouts begin, because they had no kind."""


class LandedTree(BaseModel):
    """All landed files at one time, as a Merkle tree (RFC 6962) over the log of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    size: int
    """Landed files; the first so many lines of the log."""
    root: str
    """Hexadecimal root over these lines. Anyone who keeps it can prove later what the pin saw."""


class RunLine(BaseModel):
    """What became of one run's events of one length."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    run_id: str
    """The launch that wrote them."""
    bucket: str
    """Length of the canonical payload."""
    given: int
    """Events that producers gave to writers that have closed."""
    landed: int
    duplicate: int
    """Told before."""
    conflict: int
    """Another payload under a known key; both are kept."""
    rejected: int
    """Pieces of sources that were refused, and told."""
    lost: int
    """Given up by a producer that must not wait."""
    rows: int
    """In landed files, the lake's own word on conflicts included."""


MANIFEST_FORMAT = 2


class Pin(BaseModel):
    """The manifest, as it lies in the lake."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    """Given by whoever made it."""
    number: int
    """Counts the contents that the name has had, from 1."""
    digest: str
    """SHA-256 over the contents below: not over where they lie, nor over what else had landed."""
    tables: dict[str, PinnedTable]
    """By name of table."""
    ledger: dict[str, LedgerLine]
    """By kind of event."""
    tracelake_version: str
    """The code that made the pin."""
    schema_versions: dict[str, int]
    """Of the kinds in the ledger."""
    manifest_format: int = 1
    """2 has a seal and a tree of landed files."""
    landed: LandedTree | None = None
    """What had landed when the pin was made; null in format 1."""
    books: tuple[RunLine, ...] | None = None
    """The ledger of the whole lake, per run and length, when the pin was made; null in format 1."""
    seal: str | None = None
    """SHA-256 over every other field of the manifest; null in format 1."""

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.number}"


def pin_digest(
    tables: dict[str, PinnedTable],
    ledger: dict[str, LedgerLine],
    tracelake_version: str,
    schema_versions: dict[str, int],
) -> str:
    """The content address: where the rows lie (`version`) and who told them (`rows_digest`) are left out."""
    return hash_of(
        {
            "tables": {
                name: table.model_dump(exclude={"version", "rows_digest"}) for name, table in tables.items()
            },
            "ledger": {kind: line.model_dump() for kind, line in ledger.items()},
            "tracelake_version": tracelake_version,
            "schema_versions": schema_versions,
        }
    )


def pin_seal(pin: Pin) -> str:
    """What `seal` has to be."""
    return hash_of(pin.model_dump(mode="json", exclude={"seal"}))
