"""The paths of a lake, under its root. No other module builds paths.

    lake.json                                            format of the lake
    events/v2/kind=K/EPOCH/SEQ-SHA256.parquet            landed files: the facts
    tables/NAME.lance                                    event tables (one per kind) and derived tables
    pins/NAME/NUMBER.json                                pin manifests
    cursors/K/SHA256.json                                cursors of projections, for many epochs
    log/NUMBER.txt                                       landed files in the order in which pins saw them
    tables/quarantine/…                                  torn files that were moved aside
    redaction.key                                        key of the tokens that replace secrets
    ledger/EPOCH.json                                    outcomes of one writer's events
    spool/EPOCH/NUMBER.segment                           acknowledged, not landed yet (local lakes)
    spool/EPOCH/NUMBER.spare                             landed, to be overwritten by a later segment

**A landed file is named by the hash of its contents** and by its first sequence number.
**Ids never become paths**: a name that does is checked against a pattern.
"""

from __future__ import annotations

from typing import NamedTuple

from tracelake.schemas.errors import BadInputError
from tracelake.schemas.pin_reference import NAME_PATTERN

MARKER = "lake.json"
FORMAT_VERSION = 2
EVENTS = f"events/v{FORMAT_VERSION}"
TABLES = "tables"
PINS = "pins"
CURSORS = "cursors"
LOG = "log"
QUARANTINE = "quarantine"
LEDGER = "ledger"
REDACTION_KEY = "redaction.key"


class LandedName(NamedTuple):
    """The parts of a landed file's path."""

    kind: str
    writer_epoch: str
    first_seq: int
    sha256: str


def kind_prefix(kind: str) -> str:
    return f"{EVENTS}/kind={kind}"


def landed_path(name: LandedName) -> str:
    return f"{kind_prefix(name.kind)}/{name.writer_epoch}/{seq_text(name.first_seq)}-{name.sha256}.parquet"


def seq_text(seq: int) -> str:
    """Fixed width, so that file names sort as their numbers do."""
    return f"{seq:012d}"


def parse_landed_path(path: str) -> LandedName:
    """Raises BadInputError for any other path."""
    parts = path.removeprefix(f"{EVENTS}/kind=").split("/")
    stem, dot, suffix = parts[-1].partition(".")
    seq, dash, sha256 = stem.partition("-")
    if (
        len(parts) != 3
        or not dot
        or suffix != "parquet"
        or not dash
        or not seq.isdecimal()
        or len(sha256) != 64
    ):
        raise BadInputError(
            "not a landed file", got=path, expected=f"{EVENTS}/kind=K/EPOCH/SEQ-SHA256.parquet"
        )
    return LandedName(parts[0], parts[1], int(seq), sha256)


def ledger_path(epoch: str) -> str:
    return f"{LEDGER}/{checked_name(epoch)}.json"


def table_path(name: str) -> str:
    return f"{TABLES}/{checked_name(name)}.lance"


def cursor_path(kind: str, sha256: str) -> str:
    return f"{CURSORS}/{checked_name(kind)}/{checked_name(sha256)}.json"


def log_path(number: int) -> str:
    return f"{LOG}/{number:08d}.txt"


def pin_path(name: str, number: int) -> str:
    return f"{PINS}/{checked_name(name)}/{number:06d}.json"


def parse_pin_path(path: str) -> tuple[str, int]:
    """Name and number. Raises BadInputError for any other path."""
    parts = path.removeprefix(f"{PINS}/").removesuffix(".json").split("/")
    if len(parts) != 2 or not parts[1].isdecimal() or pin_path(parts[0], int(parts[1])) != path:
        raise BadInputError("not a pin manifest", got=path, expected=f"{PINS}/NAME/NUMBER.json")
    return parts[0], int(parts[1])


def pin_tag(name: str, number: int) -> str:
    return f"pin-{checked_name(name)}-{number}"


def checked_name(name: str) -> str:
    if not NAME_PATTERN.fullmatch(name):
        raise BadInputError(
            "not a usable name",
            got=name,
            expected="letters, digits, '.', '_', '-', at most 128, no leading mark",
        )
    return name
