"""Check tables for secrets before a pin names them.

**Two scanners**: betterleaks (extra `secrets`), whose rules differ from redaction's, and the patterns of
redaction. If betterleaks is not installed, the report names the patterns alone.
**Decoded strings are scanned**, of nested JSON too. A text cannot switch the scan off by an allow marker.
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

from tracelake.lake.secrets.secret_names import looks_random
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
    """The place of a probable secret."""

    table: str
    row: str
    """The event id; `row N`, from 0, in tables without one."""
    rule: str

    @property
    def place(self) -> str:
        """Its name in the list of allowed findings."""
        return f"{self.table}/{self.row}/{self.rule}"


class SecretReport(NamedTuple):
    """A check without findings, except allowed ones."""

    scanners: tuple[str, ...]
    """`patterns`, and `betterleaks` where it is installed."""
    row_count: int
    allowed_count: int
    """Findings that the caller allowed."""
    doubtful: dict[str, int]
    """By rule, findings of low confidence whose value does not look random either, such as
    `password = password`."""


class _Row(NamedTuple):
    name: str
    text: str


class _BetterleaksResult(NamedTuple):
    findings: list[Finding]
    doubtful: Counter[str]


def check_for_secrets(
    frames: Iterable[tuple[str, pa.Table]], *, secrets: Iterable[str] = (), allowed: Collection[str] = ()
) -> SecretReport:
    """Scan named tables; `secrets` are known values, `allowed` are `Finding.place`s.

    Raises SecretFoundError for a finding that is not allowed."""
    search = SecretSearch(secrets)
    scan_string = _betterleaks()
    findings: list[Finding] = []
    doubtful: Counter[str] = Counter()
    row_count = 0
    for table, frame in frames:
        row_count += frame.num_rows
        for rows in _batches(_rows(frame)):
            findings += [
                Finding(table, row.name, rule) for row in rows for rule in _pattern_types(search, row)
            ]
            if scan_string is not None:
                scan = _scan_rows(table, rows, scan_string)
                findings += scan.findings
                doubtful += scan.doubtful
    places = dict.fromkeys(finding.place for finding in findings)
    not_allowed = [place for place in places if place not in allowed]
    if not_allowed:
        raise _secret_found(not_allowed)
    scanners = (PATTERNS_SCANNER,) if scan_string is None else (BETTERLEAKS_SCANNER, PATTERNS_SCANNER)
    return SecretReport(scanners, row_count, len(places), dict(sorted(doubtful.items())))


def strings_in(value: Any, depth: int = 0) -> Iterator[str]:
    """Strings of a value, keys too. A string of JSON is followed by the strings in it."""
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


def _pattern_types(search: SecretSearch, row: _Row) -> Iterator[str]:
    for span in search.spans(row.text):
        yield span.type


def _scan_rows(table: str, rows: list[_Row], scan_string: Callable[[str], list[Any]]) -> _BetterleaksResult:
    scan = _BetterleaksResult([], Counter())
    if not scan_string(_scannable("\n\n".join(row.text for row in rows))):
        return scan
    for row in rows:
        for found in scan_string(_scannable(row.text)):
            if found.confidence == "low" and not looks_random(found.match.value):
                scan.doubtful[found.rule_id] += 1
            else:
                scan.findings.append(Finding(table, row.name, found.rule_id))
    return scan


def _scannable(text: str) -> str:
    # The library stops at the first NUL and skips lines with an allow marker.
    text = TOKEN.sub(" ", text).replace("\0", " ")
    return _ALLOW_MARKER.sub(r"\1\2-", text).encode("utf-8", "replace").decode()


def _rows(frame: pa.Table) -> Iterator[_Row]:
    names = [field.name for field in frame.schema if _contains_text(field.type)]
    at = 0
    for batch in frame.select(names).to_batches(max_chunksize=1024):
        columns = [batch.column(name).to_pylist() for name in names]
        for values in zip(*columns, strict=True):
            row = dict(zip(names, values, strict=True))
            name = row.pop("event_id", None) or f"row {at}"
            yield _Row(name, "\n".join(text for value in row.values() for text in strings_in(value)))
            at += 1


def _contains_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _contains_text(kind.value_type)
    if kind.num_fields:
        return any(_contains_text(kind.field(index).type) for index in range(kind.num_fields))
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


def _secret_found(places: list[str]) -> SecretFoundError:
    shown = ", ".join(places[:FINDINGS_SHOWN])
    return SecretFoundError(
        f"{len(places)} places may contain a secret",
        got=f"table/event/rule {shown}" + (", …" if len(places) > FINDINGS_SHOWN else ""),
        expected="tables without secrets",
        cure="Revoke the secret and derive without these events, or allow the places if they contain none.",
    )
