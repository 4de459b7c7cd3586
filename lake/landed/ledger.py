"""The ledger: every event that a producer gives to a writer is counted under exactly one outcome.

Flow: a writer counts → it writes `ledger/EPOCH.json` when it closes → `build_ledger` compares all of these
with the landed rows.

**It balances**: given = landed + duplicate + conflict + rejected + lost, per run and per length of payload.
**Rows prove it**: what a writer counted as landed is counted again in the landed files.
**A crashed writer has no ledger file**: its rows are counted, and events beyond them were never acknowledged.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, NonNegativeInt, ValidationError

from tracelake.lake.landed.reading import read_envelopes
from tracelake.lake.layout import EVENTS, LEDGER, ledger_path, parse_landed_path
from tracelake.lake.stores.store import ObjectStore
from tracelake.schemas.errors import BadInputError, CorruptFileError
from tracelake.schemas.pin import RunCounts

EventOutcome = Literal["landed", "duplicate", "conflict", "rejected", "lost", "conflict_found"]
"""`conflict_found`: a ConflictFound that the lake itself landed; no producer gave it."""
GIVEN_OUTCOMES: tuple[EventOutcome, ...] = ("landed", "duplicate", "conflict", "rejected", "lost")
ROW_OUTCOMES: tuple[EventOutcome, ...] = ("landed", "conflict", "rejected", "conflict_found")
"""Outcomes that leave a row."""

BUCKETS = (("under 1 KiB", 2**10), ("1 to 4 KiB", 2**12), ("4 to 16 KiB", 2**14), ("16 to 64 KiB", 2**16))
LONGEST = "64 KiB and more"
_LIMITS = [limit for _, limit in BUCKETS]
_NAMES = [*(name for name, _ in BUCKETS), LONGEST]
UNMEASURED = "unmeasured"
"""Rows without a payload size."""


def _check_bucket(name: str) -> str:
    if name not in _NAMES:
        raise ValueError(f"no length bucket: {name}")
    return name


LengthBucket = Annotated[str, AfterValidator(_check_bucket)]


class WriterLedger(BaseModel):
    """The events that one writer was given, by length of payload and outcome."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: str
    run_id: str
    given: dict[LengthBucket, NonNegativeInt]
    counts: dict[LengthBucket, dict[EventOutcome, NonNegativeInt]]


class Ledger(NamedTuple):
    """The counts of all writers, and their contradictions with themselves and with the rows."""

    lines: list[RunCounts]
    closed_writers: int
    cut_off_writers: int
    """Writers with rows and without a ledger file."""
    problems: list[str]


class EventCounter:
    """One writer's counts so far."""

    def __init__(self) -> None:
        self._given: Counter[str] = Counter()
        self._counts: dict[str, dict[EventOutcome, int]] = {}

    def count(self, outcome: EventOutcome, *byte_counts: int) -> None:
        """Add one event for each payload size."""
        for bucket, count in Counter(map(bucket_of, byte_counts)).items():
            if outcome in GIVEN_OUTCOMES:
                self._given[bucket] += count
            counts = self._counts.setdefault(bucket, {})
            counts[outcome] = counts.get(outcome, 0) + count

    def writer_ledger(self, epoch: str, run_id: str) -> WriterLedger | None:
        """None if no event was given."""
        if not self._counts:
            return None
        return WriterLedger(epoch=epoch, run_id=run_id, given=dict(self._given), counts=self._counts)


def bucket_of(byte_count: int | None) -> str:
    """The length bucket of a payload."""
    if byte_count is None:
        return UNMEASURED
    return _NAMES[bisect_right(_LIMITS, byte_count)]


def put_writer_ledger(store: ObjectStore, writer: WriterLedger) -> None:
    text = json.dumps(writer.model_dump(), sort_keys=True, indent=1)
    store.put_new(ledger_path(writer.epoch), text.encode())


def read_writer_ledgers(store: ObjectStore) -> list[WriterLedger]:
    """Raises CorruptFileError."""
    return [_read_writer_ledger(store, path) for path in store.list(LEDGER, ".json")]


def build_ledger(store: ObjectStore) -> Ledger:
    """Raises CorruptFileError."""
    writers = read_writer_ledgers(store)
    rows = _count_rows(store)
    problems = [problem for writer in writers for problem in _problems(writer, rows)]
    cut_off = {epoch for epoch, _, _ in rows} - {writer.epoch for writer in writers}
    return Ledger(_run_counts(writers, rows), len(writers), len(cut_off), problems)


def _problems(writer: WriterLedger, rows: Counter[tuple[str, str, str]]) -> Iterable[str]:
    name = f"writer {writer.epoch} of run {writer.run_id}"
    for bucket, counts in sorted(writer.counts.items()):
        given = writer.given.get(bucket, 0)
        counted = sum(counts.get(outcome, 0) for outcome in GIVEN_OUTCOMES)
        if counted != given:
            yield f"{name}: {given} events {bucket} were given and {counted} are counted"
        expected_rows = sum(counts.get(outcome, 0) for outcome in ROW_OUTCOMES)
        found_rows = rows[writer.epoch, writer.run_id, bucket]
        if found_rows != expected_rows:
            yield (
                f"{name}: {expected_rows} events {bucket} are counted as landed and {found_rows} have landed"
            )
    for (epoch, _, bucket), count in rows.items():
        if epoch == writer.epoch and bucket not in writer.counts:
            yield f"{name}: {count} events {bucket} have landed and none is counted"


def _run_counts(writers: list[WriterLedger], rows: Counter[tuple[str, str, str]]) -> list[RunCounts]:
    total: dict[tuple[str, str], Counter[str]] = {}
    for writer in writers:
        for bucket, counts in writer.counts.items():
            line = total.setdefault((writer.run_id, bucket), Counter())
            line.update(counts)
            line["given"] += writer.given.get(bucket, 0)
    for (_, run_id, bucket), count in rows.items():
        total.setdefault((run_id, bucket), Counter())["rows"] += count
    order = {name: index for index, name in enumerate([*_NAMES, UNMEASURED])}
    columns = [name for name in RunCounts.model_fields if name not in ("run_id", "bucket")]
    return [
        RunCounts(run_id=run_id, bucket=bucket, **{name: total[run_id, bucket][name] for name in columns})
        for run_id, bucket in sorted(total, key=lambda key: (key[0], order[key[1]]))
    ]


def _count_rows(store: ObjectStore) -> Counter[tuple[str, str, str]]:
    """Landed rows by epoch, run and length bucket. Rows of tables would not do: an event that two writers
    landed is one row there."""
    found: Counter[tuple[str, str, str]] = Counter()
    for path in store.list(EVENTS, ".parquet"):
        try:
            epoch = parse_landed_path(path).writer_epoch
        except BadInputError:
            # An audit reports foreign files.
            continue
        rows = read_envelopes(store, path, ["run_id", "payload_byte_count"])
        for run_id, byte_count in zip(*(column.to_pylist() for column in rows.columns), strict=True):
            found[epoch, run_id, bucket_of(byte_count)] += 1
    return found


def _read_writer_ledger(store: ObjectStore, path: str) -> WriterLedger:
    try:
        writer = WriterLedger.model_validate_json(store.read(path))
    except ValidationError as error:
        raise CorruptFileError(
            f"ledger file {path} is damaged", got=str(error), expected="the counts of one writer"
        ) from error
    if ledger_path(writer.epoch) != path:
        raise CorruptFileError(
            f"ledger file {path} is damaged", got=writer.epoch, expected="the epoch in its name"
        )
    return writer
