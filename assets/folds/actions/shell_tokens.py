"""Flat shell tokens, and the one text of token sequences that do the same.

**A separator is kept only where it separates commands**: after an operator or a keyword, and before a closing
one, it is idle.
**Redirections stand after their command's words**, in order, here-documents last: their place among words has
no effect.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from tracelake.assets.folds.actions.shell_flags import normal_arguments

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


def canonical_text(tokens: Iterable[Token]) -> str:
    """One text for token sequences that do the same; words must be canonical already."""
    return " ".join(_rendered(_without_root_changes(_without_idle_separators(tokens))))


def _without_idle_separators(tokens: Iterable[Token]) -> list[Token]:
    kept: list[Token] = []
    for token in tokens:
        last = kept[-1] if kept else SEPARATOR
        if token.kind == "separator":
            idle = last.kind == "separator" or (
                last.kind == "operator" and last.text in _IDLE_AFTER | _IDLE_AFTER_KEYWORD
            )
            kept += [] if idle else [token]
            continue
        if kept and last.kind == "separator" and token.kind == "operator" and token.text in _IDLE_BEFORE:
            kept.pop()
        kept.append(token)
    return kept[:-1] if kept and kept[-1].kind == "separator" else kept


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
