"""Find secrets in text: known values and patterns, behind one automaton over their literals.

**The automaton never rejects a text that would match**: every match contains an anchor of its pattern, or a
literal of the known form, also in JSON text of any depth. Base64 is decoded where a block of its letters is.
**No match reaches into a token** of an earlier redaction. One that reads across a token, as if nothing were
there, takes the token with it: a token that a source made up cannot save the key that it splits.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from tracelake.lake.secrets.known_secrets import forms_of, literals_of
from tracelake.lake.secrets.literal_search import LiteralSearch
from tracelake.lake.secrets.secret_names import PAYLOAD_ANCHORS
from tracelake.lake.secrets.secret_patterns import (
    CHECKS,
    PATTERNS,
    PERCENT_SCHEME,
    TOKEN_CLOSE,
    TOKEN_OPEN,
)
from tracelake.lake.secrets.split_text import SPLIT_TEXT_LITERALS
from tracelake.lake.secrets.text_copies import (
    COLOUR_START,
    COLOUR_START_IN_JSON,
    base64_runs,
    copies,
    decoded_base64,
    replaced,
    whole_copy,
    without_colours,
    without_colours_in_json,
)

PAYLOADS_AT_ONCE = 1024
UNNAMED_TYPE = "environment"
"""Type of a known secret that no pattern matches."""

TOKEN = re.compile(rf"{TOKEN_OPEN}secret:[a-z0-9_]{{1,24}}(?::[0-9a-f]{{32}})?{TOKEN_CLOSE}")


_COLOUR, _COLOUR_IN_JSON = COLOUR_START.encode(), COLOUR_START_IN_JSON.encode()


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
        anchors = [*(anchor for pattern in PATTERNS for anchor in pattern.anchors), PERCENT_SCHEME]
        values = [literal for form in forms for literal in literals_of(form.text)]
        self._in_strings = LiteralSearch([*anchors, COLOUR_START], CHECKS, values)
        in_payloads = [literal for anchor in anchors for literal in PAYLOAD_ANCHORS.get(anchor, (anchor,))]
        self._in_payloads = LiteralSearch(
            [*in_payloads, COLOUR_START_IN_JSON, *SPLIT_TEXT_LITERALS], CHECKS, values
        )

    def suspects(self, payload: bytes) -> bool:
        """Whether the JSON text of events' fields may contain a secret. False is certain."""
        return bool(self.suspects_of([payload]))

    def suspects_of(self, payloads: Sequence[bytes]) -> list[int]:
        """Indexes of the payloads that may contain one; faster than one by one."""
        suspected: set[int] = set()
        for start in range(0, len(payloads), PAYLOADS_AT_ONCE):
            batch = payloads[start : start + PAYLOADS_AT_ONCE]
            data = b"\n".join(batch)
            ends = list(accumulate(len(each) + 1 for each in batch))
            coloured: set[int] = set()
            for position in self._in_payloads.positions(data):
                is_colour = data.startswith(_COLOUR_IN_JSON, position)
                (coloured if is_colour else suspected).add(start + bisect_right(ends, position))
            for index in coloured - suspected:
                if self._in_payloads.hits(without_colours_in_json(payloads[index])):
                    suspected.add(index)
            suspected.update(
                start + bisect_right(ends, position)
                for position, decoded in base64_runs(data)
                if any(map(self._in_strings.hits, decoded))
            )
        return sorted(suspected)

    def spans(self, text: str) -> list[Span]:
        """Secrets of a decoded text, in order and without overlaps."""
        if not self._may_match(text):
            return []
        spans: list[Span] = []
        start = 0
        tokens = list(TOKEN.finditer(text))
        for token in [*tokens, None]:
            end = token.start() if token else len(text)
            spans += [
                span._replace(start=span.start + start, end=span.end + start)
                for span in self._all_matches(text[start:end])
            ]
            start = token.end() if token else end
        if tokens:
            spans += self._across_tokens(text)
        return _merge_overlaps(spans)

    def _may_match(self, text: str) -> bool:
        data = text.encode("utf-8", "surrogatepass")
        has_colours = False
        for position in self._in_strings.positions(data):
            if not data.startswith(_COLOUR, position):
                return True
            has_colours = True
        if has_colours and self._in_strings.hits(without_colours(data)):
            return True
        # Line ends as in JSON text: base64 in lines is one text.
        runs = base64_runs(data.replace(b"\n", rb"\n"))
        return any(any(map(self._in_strings.hits, decoded)) for _, decoded in runs)

    def _across_tokens(self, text: str) -> Iterator[Span]:
        copy = replaced(whole_copy(text), TOKEN, lambda _: "")
        for span in self._matches(copy.text):
            start, end = copy.place(span.start, span.end)
            if end - start > span.end - span.start:
                yield span._replace(start=start, end=end)

    def _all_matches(self, text: str) -> Iterator[Span]:
        """Matches in the text and in its copies, each at its place in the text."""
        yield from self._matches(text)
        for copy in copies(text):
            for span in self._matches(copy.text):
                start, end = copy.place(span.start, span.end)
                yield span._replace(start=start, end=end)
        for decoded in decoded_base64(text):
            for span in self._matches(decoded.text):
                start, end = decoded.place(span.start, span.end)
                yield span._replace(start=start, end=end)

    def _matches(self, text: str) -> Iterator[Span]:
        if self._known is not None:
            for match in self._known.finditer(text):
                secret = self._secret_of[match[0]]
                yield Span(match.start(), match.end(), self._type_of[secret], secret)
        for pattern in PATTERNS:
            if any(anchor in text for anchor in pattern.anchors):
                for start, end in pattern.matches(text):
                    yield Span(start, end, pattern.type, text[start:end])


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
