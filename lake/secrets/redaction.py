"""Replace secrets by tokens before anything is written.

Flow: an automaton looks for literals in an event's JSON text → where one is found, the decoded strings are
matched → each match becomes `⟦secret:TYPE:HMAC⟧`.

**Clean events pass untouched**, as the same object. The automaton never rejects a text that would match.
**Strings are matched decoded**, keys too, each alone and joined with its neighbours of a split text.
**A secret has one token** within a lake, in all its forms; without the lake's key a token reveals nothing.
**Redaction is idempotent**: matching repeats until nothing is found, and never reaches into a token.
**Token ids of a redacted event are dropped**, with their vectors and digests: they would spell the secret.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from operator import itemgetter
from typing import Any, Literal, NamedTuple, Self, cast, get_args, get_origin

import orjson

from tracelake.lake.layout import REDACTION_KEY
from tracelake.lake.secrets.known_secrets import secrets_of
from tracelake.lake.secrets.secret_names import secret_of_key
from tracelake.lake.secrets.secret_patterns import TOKEN_CLOSE, TOKEN_OPEN
from tracelake.lake.secrets.secret_search import SecretSearch, Span
from tracelake.lake.secrets.split_text import split_texts
from tracelake.lake.stores.store import ObjectStore
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.errors import BadInputError, EventInvalidError
from tracelake.schemas.events.event import Event, storage_of, vector_fields

KEY_BYTES = 32
KEY_BYTES_MIN = 16
DIGEST_LETTERS = 32
"""128 bits: nobody finds another text with the same token."""
DROPPED_VECTOR = "token_vector"
PASSES_MAX = 16
NOT_CONVERGED = "unsettled"
"""Type of a text that still matched after `PASSES_MAX` passes; it is replaced as a whole."""
SEARCHES_CACHED_MAX = 8


class Redacted(NamedTuple):
    """An event without secrets."""

    event: Event
    found: dict[str, int]
    """Replacements by type of secret; empty if nothing was replaced and the event is the same object."""


class RedactedText(NamedTuple):
    """A text without secrets."""

    text: str
    found: dict[str, int]


class _TextFields(NamedTuple):
    """Fields of an event class that contain text."""

    names: tuple[str, ...]
    json: frozenset[str]
    values: Callable[[Mapping[str, Any]], Any]


class Redactor:
    """For one lake; threads may share it."""

    def __init__(self, key: bytes | None, known_secrets: Iterable[str] = ()) -> None:
        """`key` makes the digests of tokens (null: tokens have none), `known_secrets` are values to look for.
        Raises BadInputError."""
        if key is not None and len(key) < KEY_BYTES_MIN:
            raise BadInputError(
                "the redaction key is too short",
                got=f"{len(key)} bytes",
                expected=f"{KEY_BYTES_MIN} random bytes or more",
            )
        self._key = key
        self._search = _cached_search(tuple(sorted(set(known_secrets))))

    @classmethod
    def from_environment(cls, key: bytes | None, environment: Mapping[str, str]) -> Self:
        return cls(key, secrets_of(environment))

    def __repr__(self) -> str:
        return "Redactor()"

    def suspects(self, payload: bytes) -> bool:
        """Whether the JSON text of an event's fields (`canonical_event`) may contain a secret;
        also for several texts one after the other. False is certain."""
        return self._search.suspects(payload)

    def suspects_of(self, payloads: Sequence[bytes]) -> list[int]:
        """Indexes of the suspected payloads; faster than one by one."""
        return self._search.suspects_of(payloads)

    def redact(self, event: Event) -> Redacted:
        """The event without its secrets; the same object if it has none."""
        fields = event.__dict__
        text_fields = _text_fields(type(event))
        try:
            if not self.suspects(orjson.dumps(text_fields.values(fields))):
                return Redacted(event, {})
        except TypeError:
            # Malformed UTF-8 is refused later, and redacted first: it may contain a secret too.
            pass
        found: Counter[str] = Counter()
        changed: dict[str, Any] = {}
        for name in text_fields.names:
            value = fields[name]
            if isinstance(value, str):
                clean = (
                    self._json_text(value, found) if name in text_fields.json else self._text(value, found)
                )
                if clean != value:
                    changed[name] = clean
        if not changed:
            return Redacted(event, {})
        clean_event, dropped = without_token_ids(event.model_copy(update=changed))
        found.update(dropped)
        return Redacted(clean_event, dict(sorted(found.items())))

    def redact_text(self, text: str) -> RedactedText:
        """One decoded string without its secrets."""
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
        """Redact the strings and keys of a JSON value, repeatedly until nothing is found."""
        while True:
            before = found.total()
            value = self._walk(value, found)
            if found.total() == before:
                return value

    def _walk(self, value: Any, found: Counter[str]) -> Any:
        """One pass of `_value`. May change its argument."""
        if isinstance(value, str):
            return self._text(value, found)
        if isinstance(value, list):
            # Joined pieces first: a piece with the beginning of a secret may look like a whole one.
            for split in split_texts(value):
                texts = self._texts(split.texts, found)
                for piece, text in zip(split.pieces, texts, strict=True):
                    piece.container[piece.name] = text
            return [self._walk(item, found) for item in cast("list[Any]", value)]
        if isinstance(value, dict):
            clean: dict[str, Any] = {}
            for key, item in cast("dict[str, Any]", value).items():
                clean[_free_key(self._text(key, found), clean)] = self._named(key, item, found)
            return clean
        return value

    def _named(self, key: str, item: Any, found: Counter[str]) -> Any:
        """The value of a key. Under a key that names a secret, a random-looking beginning is replaced too."""
        clean = self._walk(item, found)
        secret = secret_of_key(key, clean) if isinstance(clean, str) else None
        if secret is None:
            return clean
        found["named"] += 1
        return self._token("named", secret) + clean[len(secret) :]

    def _text(self, text: str, found: Counter[str]) -> str:
        return self._texts([text], found)[0]

    def _texts(self, texts: list[str], found: Counter[str]) -> list[str]:
        """Redact one text in pieces. A token is put into the piece in which its secret begins."""
        for _ in range(PASSES_MAX):
            spans = self._search.spans("".join(texts))
            if not spans:
                return texts
            found.update(span.type for span in spans)
            texts = [self._without(piece, start, spans) for start, piece in _with_offsets(texts)]
        # Only a hostile text matches anew that often. It is replaced as a whole, so that time stays bounded.
        found[NOT_CONVERGED] += 1
        return [self._token(NOT_CONVERGED, "".join(texts)), *("" for _ in texts[1:])]

    def _without(self, piece: str, start: int, spans: list[Span]) -> str:
        """The piece, which begins at offset `start` of the text, without the spans in it."""
        clean: list[str] = []
        done = start
        for span in spans:
            if span.end > start and span.start < start + len(piece):
                clean.append(piece[done - start : max(span.start, start) - start])
                if span.start >= start:
                    clean.append(self._token(span.type, span.secret))
                done = span.end
        clean.append(piece[done - start :] if done < start + len(piece) else "")
        return "".join(clean)

    def _token(self, type_: str, secret: str) -> str:
        if self._key is None:
            return f"{TOKEN_OPEN}secret:{type_}{TOKEN_CLOSE}"
        digest = hmac.new(self._key, secret.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
        return f"{TOKEN_OPEN}secret:{type_}:{digest[:DIGEST_LETTERS]}{TOKEN_CLOSE}"


def without_token_ids(event: Event) -> Redacted:
    """The event without its token ids, their vectors and their digests; the same object if it has none."""
    fields = event.__dict__
    vectors = [name for name, _ in vector_fields(type(event)) if fields[name] is not None]
    if not vectors:
        return Redacted(event, {})
    changed = dict.fromkeys((*vectors, *event.TOKEN_DIGESTS))
    return Redacted(event.model_copy(update=changed), {DROPPED_VECTOR: len(vectors)})


def read_or_create_redaction_key(store: ObjectStore) -> bytes:
    """The lake's own key, created with the lake or by its first writer. Within a lake a secret always gets
    the same token; without the key a token reveals nothing."""
    if not store.exists(REDACTION_KEY):
        # Of racing writers the first one's key stays.
        store.put_new(REDACTION_KEY, secrets.token_bytes(KEY_BYTES))
    return store.read(REDACTION_KEY)


@lru_cache(maxsize=SEARCHES_CACHED_MAX)
def _cached_search(known_secrets: tuple[str, ...]) -> SecretSearch:
    """Shared by all writers of a process: building it takes longer than landing a small commit."""
    return SecretSearch(known_secrets)


def _with_offsets(texts: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Each text with its offset in the whole."""
    start = 0
    for text in texts:
        yield start, text
        start += len(text)


def _free_key(key: str, taken: Mapping[str, Any]) -> str:
    """Redaction may make two keys of an object equal."""
    while key in taken:
        key += "#"
    return key


@cache
def _text_fields(cls: type[Event]) -> _TextFields:
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
    return _TextFields(tuple(names), frozenset(json_names), itemgetter(*names))
