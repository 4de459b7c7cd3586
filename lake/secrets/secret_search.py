"""Find secrets in text: known values and patterns, behind one automaton over their literals.

**The automaton never rejects a text that would match**: every match contains an anchor of its pattern, or a
literal of the known form, also in JSON text of any depth.
**No match reaches into or across a token** of an earlier redaction.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from tracelake.lake.secrets.known_secrets import forms_of, literals_of
from tracelake.lake.secrets.literal_search import LiteralSearch
from tracelake.lake.secrets.secret_patterns import CHECKS, PATTERNS, TOKEN_CLOSE, TOKEN_OPEN, looks_random
from tracelake.lake.secrets.split_text import SPLIT_TEXT_LITERALS

PAYLOADS_AT_ONCE = 64
UNNAMED_TYPE = "environment"
"""Type of a known secret that no pattern matches."""

TOKEN = re.compile(rf"{TOKEN_OPEN}secret:[a-z0-9_]{{1,24}}(?::[0-9a-f]{{32}})?{TOKEN_CLOSE}")


class Span(NamedTuple):
    """The place of a secret in a text, in characters."""

    start: int
    end: int
    type: str
    secret: str


class SecretSearch:
    """The patterns and a set of known secrets."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = forms_of(secrets)
        self._secret_of = {form.text: form.secret for form in forms}
        self._type_of = {form.secret: _type_of(form.secret) for form in forms}
        # The longest form first: a whole value before a part of it that another value shares.
        self._known = re.compile("|".join(re.escape(form.text) for form in forms)) if forms else None
        anchors = [anchor for pattern in PATTERNS for anchor in pattern.anchors]
        values = [literal for form in forms for literal in literals_of(form.text)]
        self._in_strings = LiteralSearch(anchors, CHECKS, values)
        self._in_payloads = LiteralSearch([*anchors, *SPLIT_TEXT_LITERALS], CHECKS, values)

    def suspects(self, payload: bytes) -> bool:
        """Whether the JSON text of events' fields may contain a secret. False is certain."""
        return self._in_payloads.hits(payload)

    def suspects_of(self, payloads: Sequence[bytes]) -> list[int]:
        """Indexes of the payloads that may contain one; faster than one by one."""
        suspected: set[int] = set()
        for start in range(0, len(payloads), PAYLOADS_AT_ONCE):
            batch = payloads[start : start + PAYLOADS_AT_ONCE]
            found = list(self._in_payloads.positions(b"\n".join(batch)))
            if found:
                ends = list(accumulate(len(each) + 1 for each in batch))
                suspected.update(start + bisect_right(ends, position) for position in found)
        return sorted(suspected)

    def spans(self, text: str) -> list[Span]:
        """Secrets of a decoded text, in order and without overlaps."""
        data = text.encode("utf-8", "surrogatepass")
        if not self._in_strings.hits(data):
            return []
        spans: list[Span] = []
        start = 0
        for token in [*TOKEN.finditer(text), None]:
            end = token.start() if token else len(text)
            spans += [
                span._replace(start=span.start + start, end=span.end + start)
                for span in _merge_overlaps(self._matches(text[start:end]))
            ]
            start = token.end() if token else end
        return spans

    def _matches(self, text: str) -> Iterator[Span]:
        if self._known is not None:
            for match in self._known.finditer(text):
                secret = self._secret_of[match[0]]
                yield Span(match.start(), match.end(), self._type_of[secret], secret)
        for pattern in PATTERNS:
            if any(anchor in text for anchor in pattern.anchors):
                group = "secret" if "secret" in pattern.expression.groupindex else 0
                for match in pattern.expression.finditer(text):
                    if not pattern.must_look_random or looks_random(match[group]):
                        yield Span(*match.span(group), pattern.type, match[group])


def _merge_overlaps(spans: Iterable[Span]) -> list[Span]:
    """Overlapping spans become one, with type and secret of the longest."""
    merged: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        if merged and span.start < merged[-1].end:
            last = merged.pop()
            longest = max(last, span, key=lambda each: len(each.secret))
            span = longest._replace(start=last.start, end=max(last.end, span.end))
        merged.append(span)
    return merged


def _type_of(secret: str) -> str:
    """The pattern's type if one matches: a process that does not know the secret must make the same token."""
    return next((pattern.type for pattern in PATTERNS if pattern.expression.fullmatch(secret)), UNNAMED_TYPE)
