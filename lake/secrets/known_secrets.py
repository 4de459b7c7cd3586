"""Secrets that this process knows from its environment: the first layer of redaction.

**A known value is found whatever it looks like**, also base64, hexadecimal, URL-encoded or reversed, and
within a longer text that was encoded as a whole.
**Trivial values are no secrets**: a variable PASSWORD with the value `password` must not redact that word.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import quote, quote_plus

KNOWN_LENGTH_MIN = 12
DISTINCT_MIN = 6
ENCODED_LENGTH_MIN = 10
ESCAPE_DEPTH_MAX = 4

_NAME = re.compile(
    r"key|token|secret|passw|passphrase|credential|(^|_)(auth|pwd|pat|dsn)(_|$)", re.IGNORECASE
)
_NOT_A_SECRET = re.compile(
    r"(^|_)(file|path|dir|home|sock|type|method|mode|name|host|port|region|public|gpg_key|expires?|limit|count)(_|$)",
    re.IGNORECASE,
)
_URL_PASSWORD = re.compile(r"://[^\s/@:]*:([^\s/@]+)@")
_CLASSES = tuple(re.compile(expression) for expression in ("[a-z]", "[A-Z]", "[0-9]", "[^a-zA-Z0-9]"))
_UNESCAPED = re.compile(r"[ !#-\[\]-~]+")


class KnownForm(NamedTuple):
    """One spelling of a known secret."""

    text: str
    secret: str


def secrets_of(environment: Mapping[str, str]) -> list[str]:
    """Values of variables whose names look like secrets, and passwords in URLs; sorted."""
    found: set[str] = set()
    for name, value in environment.items():
        found.update(_URL_PASSWORD.findall(value))
        if _NAME.search(name) and not _NOT_A_SECRET.search(name):
            found.add(value.strip())
    return sorted(value for value in found if not is_trivial(value))


def is_trivial(value: str) -> bool:
    """Whether it is short, of few distinct characters, of one character class, or a path."""
    class_count = sum(expression.search(value) is not None for expression in _CLASSES)
    is_simple = len(value) < KNOWN_LENGTH_MIN or len(set(value)) < DISTINCT_MIN or class_count < 2
    return is_simple or value.startswith(("/", "./", "~/", "file://"))


def forms_of(secrets: Iterable[str]) -> list[KnownForm]:
    """All forms of all secrets, the longest first; each text once."""
    forms: dict[str, str] = {}
    for secret in secrets:
        for text in _forms(secret):
            forms.setdefault(text, secret)
    return [KnownForm(text, forms[text]) for text in sorted(forms, key=lambda text: (-len(text), text))]


def literals_of(form: str) -> list[str]:
    """Any JSON text, of any depth, of a string with this form contains one of these literals."""
    longest = max(_UNESCAPED.findall(form), key=len, default="")
    if len(longest) >= 4:
        return [longest]
    escaped = [form]
    for _ in range(ESCAPE_DEPTH_MAX + 2):
        escaped.append(json.dumps(escaped[-1], ensure_ascii=False)[1:-1])
    return escaped


def _forms(secret: str) -> Iterator[str]:
    yield from (quote(secret), quote(secret, safe=""), quote_plus(secret), quote(secret, safe="").lower())
    for order in (secret, secret[::-1]):
        yield order
        nested = nested_ascii = order
        for _ in range(ESCAPE_DEPTH_MAX):
            nested = json.dumps(nested, ensure_ascii=False)[1:-1]
            nested_ascii = json.dumps(nested_ascii)[1:-1]
            yield from (nested, nested_ascii)
    data = secret.encode("utf-8", "surrogatepass")
    yield from (data.hex(), data.hex().upper())
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(data).decode()
        for offset in range(3):
            yield from _inner_base64(encode(b"\0" * offset + data).decode(), offset, len(data))


def _inner_base64(text: str, offset: int, length: int) -> Iterator[str]:
    """The part of the text that does not depend on the bytes before and after the value."""
    # Three bytes are four letters. Letters that share bits with a neighbouring byte are cut off.
    inner = text[-(-offset * 8 // 6) : (offset + length) * 8 // 6]
    if len(inner) >= ENCODED_LENGTH_MIN:
        yield inner
