"""The last look before rows leave the lake's own walls: a pin, an export.

**A second pair of eyes**: betterleaks (extra `secrets`) has other rules than redaction has; the patterns of
redaction run as well. Where betterleaks is not installed the report says that the patterns stood alone.
**Decoded strings**, of nested JSON too; a text cannot switch the search off with an allow marker of its own.
**A finding names its place, never the secret.**
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, NamedTuple, cast

import pyarrow as pa

from tracelake.lake.secrets.secret_patterns import looks_random
from tracelake.lake.secrets.secret_search import TOKEN, SecretSearch
from tracelake.schemas.errors import SecretFoundError

PATTERNS_SCANNER = "patterns"
BETTERLEAKS_SCANNER = "betterleaks"
BATCH_CHARACTERS = 1 << 17
FINDINGS_SHOWN = 3
JSON_DEPTH_MAX = 4

_ALLOW_MARKER = re.compile(r"(git|better)(leaks):(?=allow)", re.IGNORECASE)
_TEXT_TYPES = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)


class Finding(NamedTuple):
    """Where something is that looks like a secret."""

    table: str
    row: str
    """The event id; of tables without one `row N`, from 0."""
    rule: str

    @property
    def place(self) -> str:
        """By which it can be allowed."""
        return f"{self.table}/{self.row}/{self.rule}"


class SecretReport(NamedTuple):
    """What a gate without findings has looked at."""

    gates: tuple[str, ...]
    """`patterns`, and `betterleaks` where it is installed."""
    row_count: int
    allowed_count: int
    """Findings that the caller had allowed."""
    doubtful: dict[str, int]
    """By rule, what betterleaks itself has little confidence in and what is no random value either, such as
    `password = password`."""


class _Row(NamedTuple):
    name: str
    text: str


class _Scan(NamedTuple):
    findings: list[Finding]
    doubtful: Counter[str]


def check_for_secrets(
    frames: Iterable[tuple[str, pa.Table]], *, secrets: Iterable[str] = (), allowed: Collection[str] = ()
) -> SecretReport:
    """Look through tables by name; `secrets` are known values, `allowed` are `Finding.place`s.

    Raises SecretFoundError."""
    search = SecretSearch(secrets)
    scan_string = _betterleaks()
    findings: list[Finding] = []
    doubtful: Counter[str] = Counter()
    row_count = 0
    for table, frame in frames:
        row_count += frame.num_rows
        for rows in _batches(_rows(frame)):
            findings += [Finding(table, row.name, rule) for row in rows for rule in _patterns_in(search, row)]
            if scan_string is not None:
                scan = _scanned(table, rows, scan_string)
                findings += scan.findings
                doubtful += scan.doubtful
    places = dict.fromkeys(finding.place for finding in findings)
    refused = [place for place in places if place not in allowed]
    if refused:
        raise _found(refused)
    gates = (PATTERNS_SCANNER,) if scan_string is None else (BETTERLEAKS_SCANNER, PATTERNS_SCANNER)
    return SecretReport(gates, row_count, len(places), dict(sorted(doubtful.items())))


def strings_in(value: Any, depth: int = 0) -> Iterator[str]:
    """Strings of a value, keys too; a string that is JSON is also given as what it holds."""
    if isinstance(value, str):
        yield value
        if value[:1] in ("{", "[") and depth < JSON_DEPTH_MAX:
            try:
                inner = json.loads(value)
            except (ValueError, RecursionError):
                return
            yield from strings_in(inner, depth + 1)
    elif isinstance(value, dict):
        for key, item in cast("dict[Any, Any]", value).items():
            yield from strings_in(key, depth)
            yield from strings_in(item, depth)
    elif isinstance(value, (list, tuple)):
        for item in cast("list[Any]", value):
            yield from strings_in(item, depth)


def _betterleaks() -> Callable[[str], list[Any]] | None:
    if importlib.util.find_spec("betterleaks") is None:
        return None
    return importlib.import_module("betterleaks").scan_string


def _patterns_in(search: SecretSearch, row: _Row) -> Iterator[str]:
    for span in search.spans(row.text):
        yield span.type


def _scanned(table: str, rows: list[_Row], scan_string: Callable[[str], list[Any]]) -> _Scan:
    scan = _Scan([], Counter())
    if not scan_string(_readable("\n\n".join(row.text for row in rows))):
        return scan
    for row in rows:
        for found in scan_string(_readable(row.text)):
            if found.confidence == "low" and not looks_random(found.match.value):
                scan.doubtful[found.rule_id] += 1
            else:
                scan.findings.append(Finding(table, row.name, found.rule_id))
    return scan


def _readable(text: str) -> str:
    # The library reads up to the first NUL, and leaves a line with an allow marker out.
    text = TOKEN.sub(" ", text).replace("\0", " ")
    return _ALLOW_MARKER.sub(r"\1\2-", text).encode("utf-8", "replace").decode()


def _rows(frame: pa.Table) -> Iterator[_Row]:
    names = [field.name for field in frame.schema if _holds_text(field.type)]
    at = 0
    for batch in frame.select(names).to_batches(max_chunksize=1024):
        columns = [batch.column(name).to_pylist() for name in names]
        for values in zip(*columns, strict=True):
            row = dict(zip(names, values, strict=True))
            name = row.pop("event_id", None) or f"row {at}"
            yield _Row(name, "\n".join(text for value in row.values() for text in strings_in(value)))
            at += 1


def _holds_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _holds_text(kind.value_type)
    if kind.num_fields:
        return any(_holds_text(kind.field(index).type) for index in range(kind.num_fields))
    return any(is_text(kind) for is_text in _TEXT_TYPES)


def _batches(rows: Iterable[_Row]) -> Iterator[list[_Row]]:
    batch: list[_Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(row.text)
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _found(places: list[str]) -> SecretFoundError:
    shown = ", ".join(places[:FINDINGS_SHOWN])
    return SecretFoundError(
        f"{len(places)} places look like they hold a secret",
        got=f"table/event/rule {shown}" + (", …" if len(places) > FINDINGS_SHOWN else ""),
        expected="tables without secrets",
        cure="Revoke the secret and derive without these events, or allow the places if they hold none.",
    )
