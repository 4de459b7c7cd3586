"""A shell command line in canonical form, from its syntax tree.

Flow: text → tree-sitter-bash → flat tokens (words, operators, redirections) → canonical simple commands →
text.

**The flat order of tokens counts, not the tree's nesting**: bash's grammar is a function of its tokens, and
this parser sometimes nests lists, pipelines and redirections differently from bash.
**Unified**: quoting, comments, white space and line ends, trailing `;`, redundant `./`, order of short flags
that commute, place of a redirection within its command, name and quoting of a here-document's end, and a
leading `cd DIR &&` where DIR is the absolute path of a repository root. `cd src &&` stays: it changes the
effect of the rest.
**A separator only stays between commands**: after an operator or a keyword, and before a closing one, it has
no effect.
**Redirections follow their command's words**, in order, here-documents last: their place among words has no
effect.
**Null for unreadable text**: a syntax error, text over `TEXT_BYTES_MAX`, nesting over `NESTING_MAX`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import tree_sitter_bash
from tree_sitter import Language, Node, Parser

from tracelake.assets.folds.actions.shell_flags import normal_arguments, normal_path
from tracelake.assets.folds.actions.shell_words import (
    WORD_TYPES,
    UnreadableShell,
    protected,
    text_of,
    word_text,
)

TEXT_BYTES_MAX = 16_384
"""The parser's error recovery is quadratic: at this size the worst text found takes about two seconds."""
NESTING_MAX = 16

_PARSER = Parser(Language(tree_sitter_bash.language()))
_BETWEEN_TOKENS = re.compile(rb"^(?:\s|\\\n)*$")
_CONTINUATION = b"\\\n"
_QUOTING = re.compile(r"[\\'\"]")
_LIVE_IN_HEREDOC = re.compile(r"[$`\\]")
_REDIRECTIONS = frozenset(["file_redirect", "herestring_redirect", "heredoc_redirect"])
_SAME_DESCRIPTOR = {"1>": ">", "1>>": ">>", "0<": "<"}
_SYSTEM_FOLDERS = "bin|boot|dev|etc|home|lib|lib64|media|mnt|opt|proc|root|run|sbin|srv|sys|tmp|usr|var"
_ROOT_PARENTS = r"workspaces?|repos|root|opt|srv|mnt|home/[\w.-]+"
_REPOSITORY_ROOT = re.compile(
    rf"^(?:\.|/(?!(?:{_SYSTEM_FOLDERS})(?:/|$))[\w.-]+|/(?:{_ROOT_PARENTS})/[\w.-]+)/?$"
)
_IDLE_AFTER = frozenset({"&", "&&", "||", "|", "|&", "(", "((", "{", ";;", "!"})
_IDLE_AFTER_KEYWORD = frozenset({"then", "do", "else", "elif", "if", "while", "until", "in"})
_IDLE_BEFORE = frozenset({"&", "&&", "||", "|", "|&", ")", "}", ";;"})


class Token(NamedTuple):
    kind: Literal["word", "assignment", "operator", "redirection", "separator"]
    text: str


SEPARATOR = Token("separator", ";")


class ReadNode(NamedTuple):
    """The token of a node, and its unread rest."""

    token: Token
    end: int
    """End of the token in the source."""
    rest: Sequence[Node] = ()
    """Children that follow the token on the command's line."""
    node_end: int | None = None
    """End of the node, if its last lines come after the rest."""


def canonical_command(command: str) -> str | None:
    """The canonical form of a command line; null if the text cannot be read as shell."""
    source = command.encode("utf-8", "surrogatepass")
    if len(source) > TEXT_BYTES_MAX or b"\0" in source:
        return None
    root = _PARSER.parse(source).root_node
    if root.has_error:
        return None
    try:
        return _Reader(source).canonical(root.children, len(source), 0)
    except (UnreadableShell, UnicodeDecodeError):
        return None


class _Reader:
    """Reads one source text."""

    def __init__(self, source: bytes) -> None:
        self._source = source

    def canonical(self, nodes: Sequence[Node], stop: int, nesting: int) -> str:
        """Canonical text of sibling nodes, which must cover the source up to `stop`."""
        if nesting > NESTING_MAX:
            raise UnreadableShell("nested too deep")
        return _canonical_text(self._tokens(nodes, stop, nesting))

    def _tokens(self, nodes: Sequence[Node], stop: int, nesting: int) -> Iterator[Token]:
        """Tokens in source order. A stack and not recursion: `a && b && …` nests as deep as it is long."""
        stack: list[Node | int] = list(reversed(nodes))
        end = nodes[0].start_byte if nodes else 0
        previous = SEPARATOR
        while stack:
            node = stack.pop()
            if isinstance(node, int):
                end, previous = node, SEPARATOR
                yield previous
                continue
            read = self._read(node, nesting)
            if read is None and node.children:
                stack += reversed(node.children)
                continue
            if self._line_ends(end, node, previous, read):
                yield SEPARATOR
            end = read.end if read else node.end_byte
            if read:
                previous = read.token
                yield previous
                stack += [read.node_end] if read.node_end is not None else []
                stack += reversed(read.rest)
        _require_blank(self._source[end:stop])

    def _read(self, node: Node, nesting: int) -> ReadNode | None:
        """Null for a comment, and for a node that only has children."""
        if node.type in WORD_TYPES:
            return ReadNode(Token("word", self._word(node, nesting)), node.end_byte)
        if node.type == "heredoc_redirect":
            return self._heredoc(node)
        if node.type in _REDIRECTIONS:
            return self._redirection(node, nesting)
        if node.type == "variable_assignment":
            return self._assignment(node, nesting)
        if node.children or node.type == "comment":
            return None
        text = text_of(node).strip()
        if node.is_named:
            return ReadNode(Token("word", protected(text)), node.end_byte)
        return ReadNode(SEPARATOR if text in ("", ";") else Token("operator", text), node.end_byte)

    def _line_ends(self, end: int, node: Node, previous: Token, read: ReadNode | None) -> bool:
        """True if a line ends before the node."""
        raw = node.text or b""
        gap = self._source[end : node.start_byte] + raw[: len(raw) - len(raw.lstrip())]
        _require_blank(gap)
        if gap in (b"", _CONTINUATION) and previous.kind == "word" and read and read.token.kind == "word":
            raise UnreadableShell("two words without a blank between them")
        return b"\n" in gap.replace(_CONTINUATION, b" ")

    def _word(self, node: Node, nesting: int) -> str:
        return word_text(node, lambda inner: self._inside(inner, nesting + 1))

    def _inside(self, substitution: Node, nesting: int) -> str:
        parts = substitution.children
        return self.canonical(parts[1:-1], parts[-1].start_byte, nesting)

    def _assignment(self, node: Node, nesting: int) -> ReadNode | None:
        value = node.children[-1]
        if value.type not in WORD_TYPES:
            return (
                None
                if value.children
                else ReadNode(Token("assignment", text_of(node).strip()), node.end_byte)
            )
        name = self._source[node.start_byte : value.start_byte].decode("utf-8", "surrogatepass")
        return ReadNode(Token("assignment", name.strip() + self._word(value, nesting)), node.end_byte)

    def _redirection(self, node: Node, nesting: int) -> ReadNode:
        """Words after the first belong to the command: `grep a 2>b -r` is `grep a -r 2>b`."""
        words = [child for child in node.children if child.type in WORD_TYPES]
        operator = "".join(text_of(child).strip() for child in node.children if child.type not in WORD_TYPES)
        operator = _SAME_DESCRIPTOR.get(operator, operator)
        if not words:
            return ReadNode(Token("redirection", operator), node.end_byte)
        if b"\n" in self._source[node.start_byte : words[0].start_byte]:
            raise UnreadableShell("a redirection on the line before its target")
        target = self._word(words[0], nesting)
        target = target if node.type == "herestring_redirect" else normal_path(target)
        return ReadNode(Token("redirection", f"{operator} {target}"), words[0].end_byte, words[1:])

    def _heredoc(self, node: Node) -> ReadNode:
        """The body is on the lines after the command; the rest of the command's line is read afterwards."""
        parts = {child.type: child for child in node.children}
        start, close = parts.get("heredoc_start"), parts.get("heredoc_end")
        if start is None or close is None:
            raise UnreadableShell("a here-document without its end")
        body = self._heredoc_body(parts.get("heredoc_body", close), close)
        live = not _QUOTING.search(text_of(start)) and bool(_LIVE_IN_HEREDOC.search(body))
        opening = "".join(text_of(child) for child in node.children if child.end_byte <= start.start_byte)
        own = ("heredoc_start", "heredoc_body", "heredoc_end", "file_descriptor", "<<", "<<-")
        rest = [child for child in node.children if child.type not in own]
        token = Token("redirection", f"{opening.strip()} {'live' if live else 'literal'} {protected(body)}")
        return ReadNode(token, start.end_byte, rest, close.end_byte)

    def _heredoc_body(self, body: Node, close: Node) -> str:
        """The exact text: the parser leaves the first line's indentation out of the body's node."""
        before = self._source[: body.start_byte]
        line_start = before.find(b"\n", len(before.rstrip())) + 1
        return self._source[line_start : close.start_byte].decode("utf-8", "surrogatepass")


def _require_blank(gap: bytes) -> None:
    if not _BETWEEN_TOKENS.match(gap):
        raise UnreadableShell("text that belongs to no token")


def _canonical_text(tokens: Iterable[Token]) -> str:
    """One text for token sequences with the same effect; words must be canonical."""
    return " ".join(_rendered(_without_root_changes(_without_idle_separators(tokens))))


def _without_idle_separators(tokens: Iterable[Token]) -> list[Token]:
    result: list[Token] = []
    for token in tokens:
        last = result[-1] if result else SEPARATOR
        if token.kind == "separator":
            idle = last.kind == "separator" or (
                last.kind == "operator" and last.text in _IDLE_AFTER | _IDLE_AFTER_KEYWORD
            )
            result += [] if idle else [token]
            continue
        if result and last.kind == "separator" and token.kind == "operator" and token.text in _IDLE_BEFORE:
            result.pop()
        result.append(token)
    return result[:-1] if result and result[-1].kind == "separator" else result


def _without_root_changes(tokens: list[Token]) -> list[Token]:
    while (
        len(tokens) > 3
        and tokens[0] == Token("word", "cd")
        and tokens[1].kind == "word"
        and _REPOSITORY_ROOT.match(tokens[1].text)
        and tokens[2] == Token("operator", "&&")
    ):
        tokens = tokens[3:]
    return tokens


def _rendered(tokens: Sequence[Token]) -> Iterator[str]:
    run: list[Token] = []
    for token in tokens:
        if token.kind in ("operator", "separator"):
            yield from _simple_command(run)
            yield token.text
            run = []
        else:
            run.append(token)
    yield from _simple_command(run)


def _simple_command(run: Sequence[Token]) -> list[str]:
    """Assignments and name, canonical arguments, redirections in order with here-documents last."""
    assigned = [token.text for token in run if token.kind == "assignment"]
    words = [token.text for token in run if token.kind == "word"]
    redirections = [token.text for token in run if token.kind == "redirection"]
    arguments = normal_arguments(words[0], words[1:]) if words else []
    return (
        assigned
        + words[:1]
        + arguments
        + sorted(redirections, key=lambda text: text.lstrip("0").startswith("<<"))
    )
