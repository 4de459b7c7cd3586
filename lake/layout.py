"""Where everything lies under a lake's root. The one owner of paths.

    lake.json                                            format of the lake
    events/v1/kind=K/EPOCH/SEQ-SHA256.parquet            landed files: the facts
    tables/NAME.lance                                    projections (one per kind) and derived tables
    pins/NAME/NUMBER.json                                pin manifests
    cursors/K/SHA256.json                                where a projection stands, epochs of the past
    log/NUMBER.txt                                       landed files in the order in which pins met them
    tables/quarantine/…                                  what was torn, put aside
    redaction.key                                        makes the tokens that stand for secrets
    ledger/EPOCH.json                                    what became of a writer's events
    spool/EPOCH/NUMBER.segment                           acknowledged, not landed yet (local lakes)
    spool/EPOCH/NUMBER.spare                             landed, to be written over by a later segment

**Landed files are named by content** and by the first sequence number that they hold.
**Ids never become paths**: names that do are checked against a pattern.
"""

from __future__ import annotations

from typing import NamedTuple

from tracelake.schemas.errors import BadInputError
from tracelake.schemas.pin_reference import NAME_PATTERN

MARKER = "lake.json"
EVENTS = "events/v1"
TABLES = "tables"
PINS = "pins"
CURSORS = "cursors"
LOG = "log"
QUARANTINE = "quarantine"
LEDGER = "ledger"
REDACTION_KEY = "redaction.key"
FORMAT_VERSION = 1


class LandedName(NamedTuple):
    """What a landed file's path says."""

    kind: str
    writer_epoch: str
    first_seq: int
    sha256: str


def kind_prefix(kind: str) -> str:
    return f"{EVENTS}/kind={kind}"


def landed_path(name: LandedName) -> str:
    return f"{kind_prefix(name.kind)}/{name.writer_epoch}/{seq_text(name.first_seq)}-{name.sha256}.parquet"


def seq_text(seq: int) -> str:
    """Of one width: file names of an epoch sort as their numbers do."""
    return f"{seq:012d}"


def parse_landed_path(path: str) -> LandedName:
    """Raises BadInputError for a path that is not a landed file's."""
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
    """Name and number. Raises BadInputError for a path that is not a manifest's."""
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
