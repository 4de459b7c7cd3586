"""The ledger: every event that a producer gave to a writer is booked as exactly one thing.

Flow: a writer counts → `ledger/EPOCH.json` when it closes → `ledger` holds the books against the rows.

**It closes**: given = landed + duplicate + conflict + rejected + lost, per run and per length of payload.
**The rows are the proof**: what a book calls landed is counted again in the landed files.
**A writer that was cut off has no book**: its rows are counted, and what it was given beyond them was never
acknowledged.
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
from tracelake.schemas.pin import RunLine

Outcome = Literal["landed", "duplicate", "conflict", "rejected", "lost", "told"]
"""`told`: the lake's own word on a conflict, which no producer gave."""
GIVEN: tuple[Outcome, ...] = ("landed", "duplicate", "conflict", "rejected", "lost")
KEPT: tuple[Outcome, ...] = ("landed", "conflict", "rejected", "told")
"""Outcomes that leave a row."""

BUCKETS = (("under 1 KiB", 2**10), ("1 to 4 KiB", 2**12), ("4 to 16 KiB", 2**14), ("16 to 64 KiB", 2**16))
LONGEST = "64 KiB and more"
_LIMITS = [limit for _, limit in BUCKETS]
_NAMES = [*(name for name, _ in BUCKETS), LONGEST]
UNTOLD = "untold"
"""Rows of before payloads were measured."""


def _known_bucket(name: str) -> str:
    if name not in _NAMES:
        raise ValueError(f"no length bucket: {name}")
    return name


Bucket = Annotated[str, AfterValidator(_known_bucket)]


class Book(BaseModel):
    """What one writer was given, by length of payload and outcome."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: str
    run_id: str
    given: dict[Bucket, NonNegativeInt]
    counts: dict[Bucket, dict[Outcome, NonNegativeInt]]


class Ledger(NamedTuple):
    """The books of all writers, and where they do not agree with themselves or with the rows."""

    lines: list[RunLine]
    closed_writers: int
    cut_off_writers: int
    """They left rows and no book."""
    problems: list[str]


class Counting:
    """A writer's counts so far."""

    def __init__(self) -> None:
        self._given: Counter[str] = Counter()
        self._counts: dict[str, dict[Outcome, int]] = {}

    def book(self, outcome: Outcome, *byte_counts: int) -> None:
        """Events of these sizes."""
        for bucket, count in Counter(map(bucket_of, byte_counts)).items():
            if outcome != "told":
                self._given[bucket] += count
            counts = self._counts.setdefault(bucket, {})
            counts[outcome] = counts.get(outcome, 0) + count

    def closed(self, epoch: str, run_id: str) -> Book | None:
        """Null if nothing was given."""
        if not self._counts:
            return None
        return Book(epoch=epoch, run_id=run_id, given=dict(self._given), counts=self._counts)


def bucket_of(byte_count: int | None) -> str:
    """The length bucket of a payload."""
    if byte_count is None:
        return UNTOLD
    return _NAMES[bisect_right(_LIMITS, byte_count)]


def put_book(store: ObjectStore, book: Book) -> None:
    store.put_new(ledger_path(book.epoch), json.dumps(book.model_dump(), sort_keys=True, indent=1).encode())


def books(store: ObjectStore) -> list[Book]:
    """Raises CorruptFileError."""
    return [_read(store, path) for path in store.list(LEDGER, ".json")]


def ledger(store: ObjectStore) -> Ledger:
    """The books as they stand. Raises CorruptFileError."""
    told = books(store)
    rows = _rows(store)
    problems = [problem for book in told for problem in _problems(book, rows)]
    of_epoch = {book.epoch: book for book in told}
    unbooked = {epoch for epoch, _, _ in rows} - of_epoch.keys()
    return Ledger(_lines(told, rows), len(told), len(unbooked), problems)


def _problems(book: Book, rows: Counter[tuple[str, str, str]]) -> Iterable[str]:
    for bucket, counts in sorted(book.counts.items()):
        booked = sum(counts.get(outcome, 0) for outcome in GIVEN)
        if booked != book.given.get(bucket, 0):
            yield (
                f"writer {book.epoch} of run {book.run_id}: {book.given.get(bucket, 0)} events {bucket} "
                f"were given and {booked} are booked"
            )
        kept = sum(counts.get(outcome, 0) for outcome in KEPT)
        found = rows[book.epoch, book.run_id, bucket]
        if found != kept:
            yield (
                f"writer {book.epoch} of run {book.run_id}: {kept} events {bucket} are booked as kept and "
                f"{found} have landed"
            )
    for (epoch, _, bucket), count in rows.items():
        if epoch == book.epoch and bucket not in book.counts:
            yield f"writer {epoch} of run {book.run_id}: {count} events {bucket} have landed, none booked"


def _lines(told: list[Book], rows: Counter[tuple[str, str, str]]) -> list[RunLine]:
    total: dict[tuple[str, str], Counter[str]] = {}
    for book in told:
        for bucket, counts in book.counts.items():
            line = total.setdefault((book.run_id, bucket), Counter())
            line.update(counts)
            line["given"] += book.given.get(bucket, 0)
    for (_, run_id, bucket), count in rows.items():
        total.setdefault((run_id, bucket), Counter())["rows"] += count
    order = {name: index for index, name in enumerate([*_NAMES, UNTOLD])}
    counted = [name for name in RunLine.model_fields if name not in ("run_id", "bucket")]
    return [
        RunLine(run_id=run_id, bucket=bucket, **{name: total[run_id, bucket][name] for name in counted})
        for run_id, bucket in sorted(total, key=lambda key: (key[0], order[key[1]]))
    ]


def _rows(store: ObjectStore) -> Counter[tuple[str, str, str]]:
    """Landed rows by writer epoch, run and length bucket. Not the tables': a fact that two writers landed is
    one row there."""
    found: Counter[tuple[str, str, str]] = Counter()
    for path in store.list(EVENTS, ".parquet"):
        try:
            epoch = parse_landed_path(path).writer_epoch
        except BadInputError:
            # A stranger among the files is an audit's affair.
            continue
        rows = read_envelopes(store, path, ["run_id", "payload_byte_count"])
        for run_id, byte_count in zip(*(column.to_pylist() for column in rows.columns), strict=True):
            found[epoch, run_id, bucket_of(byte_count)] += 1
    return found


def _read(store: ObjectStore, path: str) -> Book:
    try:
        book = Book.model_validate_json(store.read(path))
    except ValidationError as error:
        raise CorruptFileError(
            f"ledger book {path} is damaged", got=str(error), expected="a writer's book"
        ) from error
    if ledger_path(book.epoch) != path:
        raise CorruptFileError(
            f"ledger book {path} is damaged", got=book.epoch, expected="the epoch of its name"
        )
    return book
