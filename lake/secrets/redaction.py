"""Secrets become tokens before anything is written.

Flow: an automaton looks for literals in an event's JSON text → only where one is found are its decoded
strings matched → what matches becomes `⟦secret:TYPE:HMAC8⟧`.

**Clean events pass untouched**: the same object comes back. The automaton never rejects what would match.
**Strings are matched decoded**, keys too, each by itself and then joined with the parts beside it.
**The same secret has the same token** within a lake, in all its forms; without the lake's key a token tells
nothing.
**Redacting twice is redacting once**: matching is repeated until nothing is found, and never reaches into a
token.
**Token ids of a redacted event are dropped**, with the vectors that belong to them: they would say it again.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from operator import itemgetter
from typing import Any, Literal, NamedTuple, Self, cast, get_args, get_origin

import orjson

from tracelake.lake.secrets.known_secrets import secrets_of
from tracelake.lake.secrets.secret_patterns import (
    NAMED_VALUE,
    SECRET_NAME,
    TOKEN_CLOSE,
    TOKEN_OPEN,
    looks_random,
)
from tracelake.lake.secrets.secret_search import SecretSearch, Span
from tracelake.lake.secrets.split_text import part_runs
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.errors import BadInputError, EventInvalidError
from tracelake.schemas.events.event import Event, storage_of, vector_fields

KEY_LENGTH_MIN = 16
DROPPED_VECTOR = "token_vector"
PASSES_MAX = 16
UNSETTLED = "unsettled"
SEARCHES_KEPT = 8


class Redacted(NamedTuple):
    """An event that may be written."""

    event: Event
    found: dict[str, int]
    """Replacements by type of secret; empty if the event is the one that was given."""


class RedactedText(NamedTuple):
    """A text that may be written."""

    text: str
    found: dict[str, int]


class _Plan(NamedTuple):
    """Fields of a class that hold text."""

    names: tuple[str, ...]
    json: frozenset[str]
    values: Callable[[Mapping[str, Any]], Any]


class Redactor:
    """Made once per process and lake; may be shared by threads."""

    def __init__(self, key: bytes, secrets: Iterable[str] = ()) -> None:
        """`key` makes the tokens; `secrets` are values known to be secret. Raises BadInputError."""
        if len(key) < KEY_LENGTH_MIN:
            raise BadInputError(
                "the key of the redaction is too short",
                got=f"{len(key)} bytes",
                expected=f"{KEY_LENGTH_MIN} random bytes or more",
            )
        self._key = key
        self._search = _search(tuple(sorted(set(secrets))))

    @classmethod
    def from_environment(cls, key: bytes, environment: Mapping[str, str]) -> Self:
        return cls(key, secrets_of(environment))

    def __repr__(self) -> str:
        return "Redactor()"

    def suspects(self, payload: bytes) -> bool:
        """Whether JSON text of an event's fields, as `canonical_event` writes it, or of several
        events one after the other, may hold a secret. False is certain."""
        return self._search.suspects(payload)

    def suspects_of(self, payloads: Sequence[bytes]) -> list[int]:
        """Positions of the payloads that are suspected; faster than one by one."""
        return self._search.suspects_of(payloads)

    def redact(self, event: Event) -> Redacted:
        """The event without secrets; the same object if it has none."""
        fields = event.__dict__
        plan = _plan(type(event))
        try:
            if not self.suspects(orjson.dumps(plan.values(fields))):
                return Redacted(event, {})
        except TypeError:
            # Text that is no UTF-8 is refused later; until then it may hold a secret as any other.
            pass
        found: Counter[str] = Counter()
        changed: dict[str, Any] = {}
        for name in plan.names:
            value = fields[name]
            if isinstance(value, str):
                clean = self._json_text(value, found) if name in plan.json else self._text(value, found)
                if clean != value:
                    changed[name] = clean
        if not changed:
            return Redacted(event, {})
        for name, _ in vector_fields(type(event)):
            if fields[name] is not None:
                changed[name] = None
                found[DROPPED_VECTOR] += 1
        return Redacted(event.model_copy(update=changed), dict(sorted(found.items())))

    def redact_text(self, text: str) -> RedactedText:
        """One decoded string without secrets."""
        found: Counter[str] = Counter()
        return RedactedText(self._text(text, found), dict(sorted(found.items())))

    def _json_text(self, text: str, found: Counter[str]) -> str:
        try:
            # The standard parser keeps the digits of integers beyond 64 bits.
            value = json.loads(text)
            counted: Counter[str] = Counter()
            clean = self._value(value, counted)
            if not counted:
                return text
            written = canonical_text(clean)
        except (ValueError, RecursionError, EventInvalidError):
            return self._text(text, found)
        found.update(counted)
        return written

    def _value(self, value: Any, found: Counter[str]) -> Any:
        """A JSON value without secrets in its strings and keys, again and again until none is left."""
        while True:
            before = found.total()
            value = self._walk(value, found)
            if found.total() == before:
                return value

    def _walk(self, value: Any, found: Counter[str]) -> Any:
        """May change the value that it is given."""
        if isinstance(value, str):
            return self._text(value, found)
        if isinstance(value, list):
            # Joined before alone: the beginning of a secret that is cut may look like a whole one.
            for run in part_runs(value):
                texts = self._texts(run.texts, found)
                for part, text in zip(run.parts, texts, strict=True):
                    part.holder[part.name] = text
            return [self._walk(item, found) for item in cast("list[Any]", value)]
        if isinstance(value, dict):
            clean: dict[str, Any] = {}
            for key, item in cast("dict[str, Any]", value).items():
                clean[_free_key(self._text(key, found), clean)] = self._named(key, item, found)
            return clean
        return value

    def _named(self, key: str, item: Any, found: Counter[str]) -> Any:
        """The value of a key; the beginning of it is a secret if the key says so and it looks random."""
        clean = self._walk(item, found)
        if not isinstance(clean, str) or not SECRET_NAME.search(key):
            return clean
        value = NAMED_VALUE.match(clean)
        if value is None or not looks_random(value[0]):
            return clean
        found["named"] += 1
        return self._token("named", value[0]) + clean[value.end() :]

    def _text(self, text: str, found: Counter[str]) -> str:
        return self._texts([text], found)[0]

    def _texts(self, texts: list[str], found: Counter[str]) -> list[str]:
        """Texts that are one text in pieces; a secret's token is put where it begins."""
        for _ in range(PASSES_MAX):
            spans = self._search.spans("".join(texts))
            if not spans:
                return texts
            found.update(span.type for span in spans)
            texts = [self._without(piece, start, spans) for start, piece in _placed(texts)]
        # Only a text that was made for it gives new matches that often; it is not worth more time.
        found[UNSETTLED] += 1
        return [self._token(UNSETTLED, "".join(texts)), *("" for _ in texts[1:])]

    def _without(self, piece: str, start: int, spans: list[Span]) -> str:
        parts: list[str] = []
        done = start
        for span in spans:
            if span.end > start and span.start < start + len(piece):
                parts.append(piece[done - start : max(span.start, start) - start])
                if span.start >= start:
                    parts.append(self._token(span.type, span.secret))
                done = span.end
        parts.append(piece[done - start :] if done < start + len(piece) else "")
        return "".join(parts)

    def _token(self, type_: str, secret: str) -> str:
        digest = hmac.new(self._key, secret.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
        return f"{TOKEN_OPEN}secret:{type_}:{digest[:8]}{TOKEN_CLOSE}"


@lru_cache(maxsize=SEARCHES_KEPT)
def _search(secrets: tuple[str, ...]) -> SecretSearch:
    """Made once for all writers of a process: it takes longer than landing a small commit does."""
    return SecretSearch(secrets)


def _placed(texts: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Each text with the position at which it begins in the whole."""
    start = 0
    for text in texts:
        yield start, text
        start += len(text)


def _free_key(key: str, taken: Mapping[str, Any]) -> str:
    while key in taken:
        key += "#"
    return key


@cache
def _plan(cls: type[Event]) -> _Plan:
    names: list[str] = []
    json_names: list[str] = []
    for name, info in cls.model_fields.items():
        annotation = info.annotation
        parts = [annotation, *get_args(annotation)]
        if (
            not any(part is str or str in get_args(part) for part in parts)
            or get_origin(annotation) is Literal
        ):
            continue
        names.append(name)
        if name.endswith("_json") and storage_of(annotation, info.metadata) == "text":
            json_names.append(name)
    return _Plan(tuple(names), frozenset(json_names), itemgetter(*names))
