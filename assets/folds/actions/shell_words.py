"""One shell word in canonical form: quoting, escapes and expansion syntax unified.

**Protected characters have a backslash, active ones have none**, so `'a b'`, `"a b"` and `a\\ b` are one
text, and `*` and `'*'` are two. An expansion is `${x}`; inside double quotes it is `"${x}"`.
**Unknown syntax raises `UnreadableShell`**; the caller then compares plain text.

The grammar (tree-sitter-bash 0.25) lets tokens inside strings absorb the blanks before them, so literal text
is taken from the ranges between expansions and never from its own nodes.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tree_sitter import Node

WORD_TYPES = frozenset(
    [
        "word",
        "number",
        "raw_string",
        "string",
        "ansi_c_string",
        "concatenation",
        "simple_expansion",
        "expansion",
        "command_substitution",
        "process_substitution",
        "arithmetic_expansion",
        "brace_expression",
        "regex",
        "extglob_pattern",
    ]
)
_EXPANSION_TYPES = frozenset(
    ["simple_expansion", "expansion", "command_substitution", "arithmetic_expansion"]
)
_ACTIVE_UNQUOTED = frozenset("*?[]{}")
_PROTECTED = re.compile(r"[^\w./:@%+,=^-]")
_ESCAPED_IN_STRING = re.compile(r"\\([$`\"\\\n])")
_PLAIN_EXPANSION = re.compile(r"^\$\{(\w+|[@*#?$!-])\}$")
_BLANKS = b" \t\n"

Substituted = Callable[[Node], str]
"""Canonical text of the commands inside a substitution."""


class UnreadableShell(Exception):
    """The text cannot be read as a command line."""


def text_of(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "surrogatepass")


def word_text(node: Node, substituted: Substituted) -> str:
    """Canonical form of a word node; `''` for the empty word."""
    text = _piece(node, substituted)
    if text == "{}":
        return "\\{\\}"
    if text.startswith("\\~") and text_of(node).startswith("~"):
        text = text[1:]
    return text or "''"


def protected(text: str) -> str:
    """Literal text with a backslash before every character that quoting would protect."""
    return _PROTECTED.sub(r"\\\g<0>", text)


def _piece(node: Node, substituted: Substituted) -> str:
    kind = node.type
    if kind == "raw_string":
        return protected(text_of(node).lstrip()[1:-1])
    if kind == "string":
        return _string(node, substituted)
    if kind == "concatenation":
        return _concatenation(node, substituted)
    if kind in _EXPANSION_TYPES or kind == "process_substitution":
        return _expansion(node, substituted)
    if kind == "ansi_c_string":
        inner = text_of(node)[2:-1]
        return "$'" + inner + "'" if "\\" in inner else protected(inner)
    if kind in ("word", "number", "brace_expression") or node.child_count == 0:
        return _bare(text_of(node).lstrip(" \t\n"))
    raise UnreadableShell(kind)


def _bare(text: str) -> str:
    """An unquoted word: escapes are resolved, pattern characters stay active."""
    if not _PROTECTED.search(text):
        return text
    pieces: list[str] = []
    position = 0
    while position < len(text):
        letter = text[position]
        if letter == "\\":
            pieces.append(
                ""
                if text[position + 1 : position + 2] == "\n"
                else protected(text[position + 1 : position + 2])
            )
            position += 2
            continue
        active = letter in _ACTIVE_UNQUOTED or (letter == "~" and text[position - 1 : position] in (":", "="))
        pieces.append(letter if active else protected(letter))
        position += 1
    return "".join(pieces)


def _concatenation(node: Node, substituted: Substituted) -> str:
    pieces: list[str] = []
    end, last_type = node.start_byte, ""
    for child in node.children:
        if child.start_byte != end:
            raise UnreadableShell("a gap inside a word")
        if last_type == "simple_expansion" and text_of(child).startswith("{"):
            raise UnreadableShell("braces are expanded before the variable in front of them")
        pieces.append(_piece(child, substituted))
        end, last_type = child.end_byte, child.type
    return "".join(pieces)


def _string(node: Node, substituted: Substituted) -> str:
    source = node.text or b""
    if len(source) < 2 or source[:1] != b'"' or source[-1:] != b'"':
        raise UnreadableShell("a string without its quotes")
    pieces: list[str] = []
    position = 1
    for child in node.children:
        if child.type in _EXPANSION_TYPES:
            raw = child.text or b""
            start = child.start_byte - node.start_byte + len(raw) - len(raw.lstrip(_BLANKS))
            pieces += [_quoted(source[position:start]), f'"{_expansion(child, substituted)}"']
            position = child.end_byte - node.start_byte
    return "".join([*pieces, _quoted(source[position:-1])])


def _quoted(source: bytes) -> str:
    text = source.decode("utf-8", "surrogatepass")
    return protected(_ESCAPED_IN_STRING.sub(lambda found: found[1].strip("\n"), text))


def _expansion(node: Node, substituted: Substituted) -> str:
    text = text_of(node).lstrip()
    if node.type == "simple_expansion":
        return "${" + text[1:] + "}"
    if node.type == "expansion":
        return text if _PLAIN_EXPANSION.match(text) else " ".join(text.split())
    if node.type == "arithmetic_expansion":
        return " ".join(text.split())
    if text.startswith("`") and "\\" in text:
        return text
    opening = text[0] if text[0] in "<>" else "$"
    return f"{opening}({substituted(node)})"
