"""One object of a source, which knows which of its keys an importer has read.

Flow: `Record` of a parsed object → getters read keys → `extra_text` keeps what nobody read → the event's
`extra_json`.

**No key is lost in silence.** A getter marks its key as read. `rest` returns every key that no getter asked
for, those of nested records included. `drop` leaves a key out on purpose and lists it, with the reason, in
the import's report.
**A value of an unexpected type costs itself, not its record**: the getter returns null, notes it, and the
value stays in the rest. Fields without which a record means nothing go through `fields.py`, which raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from tracelake.producers.importers.conversion import fields
from tracelake.producers.importers.losses import Losses
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.errors import SourceFormatError

Value = TypeVar("Value")
SMALL_INT = 2**62


class Record:
    """Reads one JSON object. `where` is its path in the source, for notes: `messages[].extra`."""

    __slots__ = ("_added", "_children", "_is_spent", "_known", "_read", "losses", "source", "where")

    def __init__(self, source: dict[str, Any], where: str, losses: Losses) -> None:
        self.source = source
        self.where = where
        self.losses = losses
        self._read: set[str] = set()
        self._known: list[tuple[str, ...]] = []
        self._added: list[tuple[str, Any]] = []
        self._children: dict[str, Record | list[Record]] = {}
        self._is_spent = False
        """`rest` has been taken."""

    def __contains__(self, key: str) -> bool:
        """Whether the key has a value; null counts as none."""
        return self.source.get(key) is not None

    # The getters are the inner loop of every import: hence their fast paths before the call that checks.

    def text(self, key: str) -> str | None:
        value = self.source.get(key)
        if value is None or type(value) is str:
            self._read.add(key)
            return value
        return self._read_as(fields.text, key)

    def label(self, key: str) -> str | None:
        """Text, or an integer as text."""
        return self._read_as(fields.label, key)

    def number(self, key: str) -> float | None:
        return self._read_as(fields.number, key)

    def integer(self, key: str) -> int | None:
        value = self.source.get(key)
        if value is None or (type(value) is int and abs(value) < SMALL_INT):
            self._read.add(key)
            return value
        return self._read_as(fields.integer, key)

    def flag(self, key: str) -> bool | None:
        return self._read_as(fields.flag, key)

    def milliseconds(self, key: str) -> float | None:
        """A time in seconds, as milliseconds."""
        return self._read_as(fields.milliseconds, key)

    def moment(self, key: str) -> datetime | None:
        """Seconds since 1970, or a date and time of ISO 8601 with a zone."""
        value = self.source.get(key)
        if type(value) is float and 0 < value < fields.SECONDS_MAX:
            self._read.add(key)
            return datetime.fromtimestamp(value, UTC)
        return self._read_as(fields.any_moment, key)

    def record(self, key: str) -> Record:
        """A nested object; empty if it is missing or null, and if it is something else."""
        known = self._children.get(key)
        if known.__class__ is Record:
            return cast("Record", known)
        value = self.source.get(key)
        if type(value) is dict:
            child = self._children[key] = Record(value, f"{self.where}.{key}", self.losses)
            self._read.add(key)
            return child
        if value is None:
            self._read.add(key)
        else:
            self._note_wrong_type(key, "an object")
        return Record({}, self.where, self.losses)

    def records(self, key: str) -> list[Record]:
        """A list of objects; empty if it is missing or null. Raises SourceFormatError if it is something
        else: a list is what a record is made of."""
        known = self._children.get(key)
        if isinstance(known, list):
            return known
        where = f"{self.where}.{key}[]"
        value = fields.sequence(self.source.get(key), where)
        losses = self.losses
        children = [
            Record(item if type(item) is dict else fields.mapping(item, where), where, losses)
            for item in value
        ]
        self._read.add(key)
        self._children[key] = children
        return children

    def detached(self, key: str) -> list[Record]:
        """As `records`, for a caller that puts the rest of each into an event of its own."""
        children = self.records(key)
        del self._children[key]
        return children

    def take(self, key: str) -> Any:
        """The value as it is, read whole."""
        self._read.add(key)
        return self.source.get(key)

    def take_all(self) -> dict[str, Any]:
        """The whole object as it is."""
        self._read.update(self.source)
        return self.source

    def has_read(self, *keys: str) -> None:
        """Mark keys that a caller read from `source` itself."""
        self._read.update(keys)

    def drop(self, reason: str, *keys: str) -> None:
        """Leave keys out, and list those that have a value with the reason; so are keys nested in them."""
        for key in keys:
            value = self.source.get(key)
            if value is not None:
                self._read.add(key)
                where = f"{self.where}.{key}"
                paths = _paths(value, where) if type(value) is dict or type(value) is list else (where,)
                for path in paths:
                    self.losses.dropped[path, reason] += 1

    def keep(self, *keys: str) -> None:
        """Leave known keys in the rest on purpose: they are not listed as unknown."""
        self._known.append(keys)

    def add_rest(self, key: str, unread: dict[str, Any]) -> None:
        """Put what a caller left unread of a nested value into the rest."""
        self._added.append((key, unread))
        for name in unread:
            self.losses.extra[f"{self.where}.{key}.{name}"] += 1

    def rest(self) -> dict[str, Any]:
        """Every key that was not read, those of nested records under theirs; nulls are left out. A second
        call returns nothing: the rest is in one event."""
        if self._is_spent:
            return {}
        self._is_spent = True
        found: dict[str, Any] = {}
        unread = self.source.keys() - self._read
        if unread:
            known = {key for keys in self._known for key in keys}
            for key, value in self.source.items():
                if key in unread and value is not None:
                    found[key] = value
                    if key not in known:
                        self.losses.extra[f"{self.where}.{key}"] += 1
        for key, child in self._children.items():
            nested = child.rest() if isinstance(child, Record) else rests_of(child)
            if nested:
                found[key] = nested
        for key, unplaced in self._added:
            found.setdefault(key, []).append(unplaced)
        return found

    def note(self, text: str) -> None:
        self.losses.notes[text] += 1

    def _read_as(self, read: Callable[[object, str], Value], key: str) -> Value | None:
        value = self.source.get(key)
        if value is None:
            self._read.add(key)
            return None
        try:
            found = read(value, key)
        except SourceFormatError as error:
            self.note(f"{self.where}: {error}; it is in extra_json")
            return None
        self._read.add(key)
        return found

    def _note_wrong_type(self, key: str, expected: str) -> None:
        got = type(self.source[key]).__name__
        self.note(f"{self.where}.{key} is {got} and not {expected}: it is in extra_json")


def _paths(value: Any, where: str) -> set[str]:
    """The path of a value and those of all keys in it."""
    found = {where}
    if type(value) is dict:
        for key, item in cast("dict[str, Any]", value).items():
            found |= _paths(item, f"{where}.{key}")
    elif type(value) is list:
        for item in cast("list[Any]", value):
            if type(item) is dict or type(item) is list:
                found |= _paths(item, f"{where}[]")
    return found


def extra_text(*records: Record, **named: dict[str, Any]) -> str | None:
    """What is left of records, as canonical JSON for `extra_json`; null if nothing is. `named` adds the rest
    of records of another level under their own name."""
    found: dict[str, Any] = {}
    for record in records:
        found |= record.rest()
    found |= {name: rest for name, rest in named.items() if rest}
    return canonical_text(fields.without_secrets(found)) if found else None


def rests_of(records: Iterable[Record]) -> dict[str, Any]:
    """The rests of a list of records by their position; records without a rest are left out."""
    found: dict[str, Any] = {}
    for index, record in enumerate(records):
        rest = record.rest()
        if rest:
            found[str(index)] = rest
    return found
