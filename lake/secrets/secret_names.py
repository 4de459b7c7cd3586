"""Names whose value is a secret if it looks random: `API_KEY=…`, `"token": "…"`, `Cookie: session=…`.

**A name alone is not enough**: `token: str`, `password = PASSWORD_FIELD_NAME` and `max_tokens: 4096` stay.
**Two strengths.** After a name that is only ever a key's, space is enough (`password X`, as in a netrc file).
After `token`, `secret`, `session` and `passphrase`, which are words too, a `=`, `:` or `>` must follow.
"""

from __future__ import annotations

import re
from itertools import pairwise

SWITCHES_MIN, SWITCHES_MIN_WITHOUT_DIGITS = 0.2, 0.4
"""Minimum share of neighbouring characters of different classes (small, capital, digit) in a random value. In
CamelCase it is a third."""
RANDOM_LENGTH_MAX = 256
"""Of a longer value only the beginning is examined."""

# Possessive: a long run of `=` is read once, whatever follows.
GAP = r"(?:[ \t\r\n\"'`:=>,]|\\[nrt\"'\\]|\\){1,12}+(?!=)"
_SIGN = r"(?:(?<=--token)|(?<=-token)|(?<=-secret)|(?=[ \t\"'`\\]{0,8}[:=>]))"
VALUE = r"[A-Za-z0-9_\-+/=.~]"
VALUE_LENGTH_MIN = 16

_STRONG = (
    r"(?:api[_-]?key|apiKey|Api-?Key|API[_-]?KEY|API-Key"
    r"|[sS]ecret_?(?:[aA]ccess_?)?[kK]ey(?:_base)?|SECRET_?(?:ACCESS_?)?KEY(?:_BASE)?"
    r"|(?:[aA]ccess|[aA]uth|[sS]ession|[rR]efresh)_?[tT]oken(?![>`,])|(?:ACCESS|AUTH|SESSION|REFRESH)_?TOKEN"
    r"|client_?[sS]ecret|CLIENT_?SECRET|[pP]assword|PASSWORD|[pP]asswd|key-data)"
)
_WEAK = (
    r"(?:[tT]oken(?![`,])|TOKEN|[sS]ecret(?:-?[kK]ey)?|SECRET|[pP]assphrase|PASSPHRASE"
    r"|[sS]ession(?:id|_id|Id)|[sS]ession(?==)"
    r"|SESS(?:ION)?(?:_?ID)?)"
)
_AUTH = r"[\"'`]auth\\{0,4}[\"'`][ \t]{0,4}:[ \t]{0,4}\\{0,4}[\"'`]"
ANCHORS = (
    *("pi_key", "pikey", "piKey", "pi-key", "pi-Key", "PI_KEY", "PIKEY", "PI-K", "key-data", "auth"),
    *("ecret", "ECRET", "oken", "OKEN", "assword", "ASSWORD", "asswd", "assphrase", "ASSPHRASE"),
    *("ession", "SESS"),
)
NAME_LENGTH_MAX = 12
"""Characters of a name before its anchor."""
PAYLOAD_ANCHORS = {
    "auth": ("auth\\", "auth'", "auth%"),
    "oken": ("oken\\", "oken=", "oken:", "oken'", "oken ", "oken%", "oken>"),
    "ession": ("ession=", "essionid", "ession_id", "essionId", "ession%"),
}
"""Words of clean text are searched with what follows them; JSON text escapes quotes and line ends."""
_SECRET = rf"(?P<secret>{VALUE}{{{VALUE_LENGTH_MIN},}})"
STRONG_NAMED = rf"{_STRONG}{GAP}{_SECRET}"
WEAK_NAMED = rf"(?:{_WEAK}{_SIGN}{GAP}|{_AUTH}){_SECRET}"
_STRONG_KEY = re.compile(rf"{_STRONG}$")
_WEAK_KEY = re.compile(rf"(?:{_WEAK}|^auth)$")
_VALUE_OF_KEY = re.compile(_SECRET)

# `GAP` in JSON text of any depth: the letter of an escape comes after a backslash.
LOOSE_GAP = rb"(?:[ \t\r\n\"'`:=>,\\]|(?<=\\)[nrt]|%[0-9A-Fa-f]{2}){1,200}+"
# Random values have a digit, or small letters and capitals.
_LOOSE_VALUE = rb"(?=[a-z_\-+/=.~%]{0,256}[A-Z0-9])(?=[A-Z_\-+/=.~%]{0,256}[a-z0-9])[\w\-+/=.~%]{16}"
_LOOSE_SUFFIX = {
    "ecret": rb"(?:_?[aA]ccess)?(?:[_-]?[kK]ey)?(?:_base)?",
    "ECRET": rb"(?:_?ACCESS)?(?:_?KEY)?(?:_BASE)?",
    "ession": rb"(?:_?id|Id)?",
    "SESS": rb"(?:ION)?(?:_?ID)?",
    "PI-K": rb"(?:EY|ey)",
    "auth": rb"(?=[\\\"'`%])",
}
CHECKS = {
    anchor: re.compile(re.escape(name.encode()) + _LOOSE_SUFFIX.get(name, b"") + LOOSE_GAP + _LOOSE_VALUE)
    for name in ANCHORS
    for anchor in (name, *PAYLOAD_ANCHORS.get(name, ()))
}

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_HEX = re.compile(r"[0-9a-f]{24,}|[0-9A-F]{24,}")
_WORDS = re.compile(r"[_\-+/=.~]+")
RANDOM_WORD_MIN = 12
HEX_DISTINCT_MIN = 8


def secret_of_key(key: str, value: str) -> str | None:
    """The beginning of a JSON object's value that is a secret because of its key."""
    found = _VALUE_OF_KEY.match(value)
    if found is None:
        return None
    is_secret = (_STRONG_KEY.search(key) and looks_random_or_drawn(found[0])) or (
        _WEAK_KEY.search(key) and looks_drawn(found[0])
    )
    return found[0] if is_secret else None


def looks_random(value: str) -> bool:
    """Whether digits, small and capital letters are mixed more than in names and words."""
    value = value[:RANDOM_LENGTH_MAX]
    classes = [_class_of(letter) for letter in value if letter.isalnum()]
    if len(classes) < 8 or len(set(value)) < 6 or len(set(classes)) < 2:
        return False
    switches = sum(left != right for left, right in pairwise(classes))
    switches_min = SWITCHES_MIN if "digit" in classes else SWITCHES_MIN_WITHOUT_DIGITS
    return switches / len(classes) >= switches_min


def looks_drawn(value: str) -> bool:
    """Whether it is random for sure, not an identifier such as `utf8_to_utf16`: a UUID, a long hexadecimal
    number, or a long stretch of letters and digits that looks random by itself."""
    value = value[:RANDOM_LENGTH_MAX]
    if _UUID.match(value) or ((number := _HEX.match(value)) and len(set(number[0])) >= HEX_DISTINCT_MIN):
        return True
    longest = max(_WORDS.split(value), key=len)
    return len(longest) >= RANDOM_WORD_MIN and looks_random(longest)


def looks_random_or_drawn(value: str) -> bool:
    return looks_random(value) or looks_drawn(value)


def _class_of(letter: str) -> str:
    return "digit" if letter.isdigit() else "capital" if letter.isupper() else "small"
