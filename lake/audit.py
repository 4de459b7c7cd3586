"""Does the lake still say what it was told? Re-hash, recount, look for gaps and orphans, reopen pins.

**A problem names the file or table and what depends on it.** An audit reads and never repairs.
**Shallow** checks names, counts and manifests; **deep** also re-hashes every landed file, recomputes the
identity of every event from its fields, and the digest of every pinned table from its rows.
"""

from __future__ import annotations

import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from lake.landing import read_landed
from lake.layout import EVENTS, kind_prefix, parse_landed_path, table_path
from lake.pins import check_table, list_pins
from lake.projection import projected_kinds
from lake.store import ObjectStore
from lake.tables import open_table
from schemas.columns import payload_columns
from schemas.errors import TracelakeError
from schemas.event import row_identity
from schemas.events import class_of_kind


class Audit(BaseModel):
    """What was looked at, and what was wrong."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    landed_files: int
    landed_events: int
    tables: int
    pins: int
    deep: bool
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems


def audit(store: ObjectStore, *, deep: bool) -> Audit:
    problems: list[str] = []
    landed, seqs = _landed_events(store, deep, problems)
    _find_gaps(seqs, problems)
    kinds = projected_kinds(store)
    for kind in kinds:
        _compare_table(store, kind, landed.get(kind, set()), problems)
    pins = _check_pins(store, deep, problems)
    return Audit(
        landed_files=len(store.list(EVENTS, ".parquet")),
        landed_events=sum(map(len, seqs.values())),
        tables=len(kinds),
        pins=pins,
        deep=deep,
        problems=tuple(problems),
    )


def _landed_events(
    store: ObjectStore, deep: bool, problems: list[str]
) -> tuple[dict[str, set[str]], dict[str, list[int]]]:
    """Event ids by kind and sequence numbers by epoch, of every readable landed file."""
    ids: dict[str, set[str]] = {}
    seqs: dict[str, list[int]] = {}
    for path in store.list(EVENTS, ".parquet"):
        try:
            name = parse_landed_path(path)
            rows = read_landed(store, path, None if deep else ["event_id", "writer_seq"])
        except (TracelakeError, OSError) as error:
            problems.append(str(error))
            continue
        ids.setdefault(name.kind, set()).update(rows["event_id"].to_pylist())
        seqs.setdefault(name.writer_epoch, []).extend(rows["writer_seq"].to_pylist())
        if deep:
            cls = class_of_kind(name.kind)
            fields = rows.select(payload_columns(cls)).to_pylist()
            for event_id, row in zip(rows["event_id"].to_pylist(), fields, strict=True):
                if row_identity(cls, row).event_id != event_id:
                    problems.append(f"{path}: event {event_id} does not hash to its own id")
    return ids, seqs


def _find_gaps(seqs: dict[str, list[int]], problems: list[str]) -> None:
    for epoch, numbers in seqs.items():
        if sorted(numbers) != list(range(len(numbers))):
            missing = sorted(set(range(max(numbers) + 1)) - set(numbers))
            problems.append(
                f"writer {epoch}: {len(missing)} sequence numbers have not landed, first {missing[:1]}"
            )


def _compare_table(store: ObjectStore, kind: str, landed: set[str], problems: list[str]) -> None:
    dataset = open_table(store.location(table_path(kind)))
    if dataset is None:
        return
    held = dataset.to_table(columns=["event_id"])["event_id"]
    distinct = pc.count_distinct(held).as_py()
    if distinct != len(held):
        problems.append(f"table {kind}: {len(held)} rows, {distinct} distinct events")
    strangers = set(held.to_pylist()) - landed
    if strangers:
        problems.append(
            f"table {kind}: {len(strangers)} events stand in no readable file under {kind_prefix(kind)}, "
            f"first {min(strangers)}"
        )


def _check_pins(store: ObjectStore, deep: bool, problems: list[str]) -> int:
    try:
        pins = list_pins(store)
    except TracelakeError as error:
        problems.append(str(error))
        return 0
    for pin in pins:
        for name, table in pin.tables.items() if deep else ():
            try:
                check_table(store, pin, name, table)
            except TracelakeError as error:
                problems.append(str(error))
    return len(pins)
