"""Equality of actions: a key per level, equal keys for equal actions.

An action is JSON text of an assistant message, `{"content": str, "tool_calls": [{"name": str, "arguments":
object or text}]}`.

**L0**: the whole action, white space normalised. **L1**: its effect. With tool calls, these in order, with
arguments by value and shell commands by syntax tree, and without prose; without calls, the text without case
and closing punctuation.
**Equivalence is by key**, so it is transitive. **L1 is coarser than L0**: its key is a function of the L0
form.
**Runs of white space are one blank; lines and indentation stay**, because they have a meaning in most tool
arguments (Python, YAML, diffs). Normalising twice equals normalising once.
**Every text has a key.** Text that is not such JSON, or is nested deeper than `NESTING_MAX`, is compared as
plain text.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, Literal, NamedTuple, cast

from tracelake.assets.folds.actions.shell import canonical_command

Level = Literal["L0", "L1"]
LEVELS: tuple[Level, ...] = ("L0", "L1")
NESTING_MAX = 100

SHELL_TOOLS = frozenset(
    [
        "bash",
        "shell",
        "sh",
        "terminal",
        "exec",
        "execute_bash",
        "execute_command",
        "exec_command",
        "run_bash",
        "run_shell",
        "run_command",
        "run_shell_command",
        "run_terminal_cmd",
        "run_in_terminal",
        "local_shell",
        "bash_tool",
        "cmd",
        "command",
        "container.exec",
    ]
)
COMMAND_ARGUMENTS = frozenset(["command", "cmd"])
_SHELL_TOOL_ARGUMENTS = COMMAND_ARGUMENTS | {"commands", "script", "code", "input"}
_SHELL_PROGRAMS = frozenset(["bash", "sh", "/bin/bash", "/bin/sh", "zsh"])

# An unclosed string runs to the end: a pattern that could fail would be tried again at every quote.
_JSON_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_BLANK_LINES = re.compile(r"\n{3,}")
_OPENING = " \t\n\"'`*_¿¡“”‘’«»"
_CLOSING = _OPENING + ".,;:?!…。"
_NOT_JSON = object()


class ActionKeys(NamedTuple):
    """Keys and shape of one action."""

    L0: str
    """32 hex digits."""
    L1: str
    """32 hex digits."""
    tool: str
    """Names of the called tools, in order, joined by `+`; empty without calls."""
    is_empty: bool
    """True without calls and without text: there is nothing to train on."""


def action_keys(action_json: str) -> ActionKeys:
    parsed = _parsed(action_json)
    if parsed is _NOT_JSON:
        text = normal_text(action_json)
        return ActionKeys(_key("L0", text), _key("L1", text), "", not text)
    action = _normal(parsed)
    calls = _calls(action)
    effect = [[call["name"], _arguments(call["name"], call.get("arguments"))] for call in calls]
    effect = effect or _plain_text(action)
    return ActionKeys(
        L0=_key("L0", json.dumps(action)),
        L1=_key("L1", json.dumps(effect, sort_keys=True)),
        tool="+".join(call["name"] for call in calls),
        is_empty=not calls and effect == ["text", ""],
    )


def _key(level: Level, text: str) -> str:
    return hashlib.sha256(f"{level}\0{text}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _calls(action: Any) -> list[dict[str, Any]]:
    """Tool calls in order; none if any of them is malformed, so that the whole action is compared."""
    calls = action.get("tool_calls") if isinstance(action, dict) else None
    if not isinstance(calls, list):
        return []
    well_formed = all(isinstance(call, dict) and isinstance(call.get("name"), str) for call in calls)
    return cast("list[dict[str, Any]]", calls) if well_formed else []


def _plain_text(action: Any) -> Any:
    """Content of an action without calls; an unknown shape is compared as a whole."""
    if not isinstance(action, dict) or action.get("tool_calls") or set(action) - {"content", "tool_calls"}:
        return ["foreign", action]
    content = action.get("content")
    if content is not None and not isinstance(content, str):
        return ["foreign", action]
    text = " ".join((content or "").casefold().split())
    return ["text", _without_closing(text).lstrip(_OPENING) or text]


def _without_closing(text: str) -> str:
    """Text without closing punctuation; an exclamation mark after a digit is a factorial."""
    while text and text[-1] in _CLOSING and not (text[-1] == "!" and text[-2:-1].isdigit()):
        text = text[:-1]
    return text


def _arguments(tool: str, arguments: Any) -> Any:
    """Arguments by value. Text with JSON is parsed; other text for a shell tool is a command line."""
    if isinstance(arguments, str):
        parsed = _parsed(arguments)
        if not isinstance(parsed, (dict, list)):
            return _command(arguments) if tool.casefold() in SHELL_TOOLS else arguments
        arguments = _normal(parsed)
    if not isinstance(arguments, dict):
        return arguments
    named = _SHELL_TOOL_ARGUMENTS if tool.casefold() in SHELL_TOOLS else COMMAND_ARGUMENTS
    return {name: _command(value) if name in named else value for name, value in arguments.items()}


def _command(value: Any) -> Any:
    """A command line by its syntax; a list such as `["bash", "-lc", line]` by the syntax of its line."""
    if isinstance(value, str):
        canonical = canonical_command(value)
        return value if canonical is None else ["shell", canonical]
    if (
        isinstance(value, list)
        and len(value) == 3
        and value[0] in _SHELL_PROGRAMS
        and value[1] in ("-c", "-lc")
    ):
        return [*value[:2], _command(value[2])] if isinstance(value[2], str) else value
    return value


def _parsed(text: str) -> Any:
    """The JSON value, or `_NOT_JSON`. `NESTING_MAX` exists because the depth that Python's parser accepts
    depends on its caller."""
    if _nesting(text) > NESTING_MAX:
        return _NOT_JSON
    try:
        return json.loads(
            text, strict=False, parse_int=_integer, parse_float=_float, parse_constant=_named_number
        )
    except ValueError:
        return _NOT_JSON


def _nesting(text: str) -> int:
    if text.count("{") + text.count("[") <= NESTING_MAX:
        return 0
    depth = deepest = 0
    for letter in re.findall(r"[\[\]{}]", _JSON_STRING.sub("", text)):
        depth += 1 if letter in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _integer(text: str) -> Any:
    try:
        return int(text)
    except ValueError:  # Python refuses to read integers of more than 4,300 digits.
        return _named_number(text)


def _float(text: str) -> Any:
    """A whole number as an integer, so that 1 and 1.0 are one value."""
    number = float(text)
    if number in (float("inf"), float("-inf")):
        return _named_number(text)
    return int(number) if number.is_integer() else number


def _named_number(text: str) -> list[str]:
    """A number that Python cannot represent, as text; the marker distinguishes it from a string."""
    return ["\0number", text]


def _normal(value: Any) -> Any:
    """The value with the white space of every text normalised. Keys are names and stay unchanged."""
    if isinstance(value, str):
        return normal_text(value)
    if isinstance(value, list):
        return [_normal(item) for item in value]
    if isinstance(value, dict):
        return {name: _normal(item) for name, item in value.items()}
    return value


def normal_text(text: str) -> str:
    """Text without accidental white space: runs inside a line, line ends, runs of empty lines, text ends."""
    if "\n" not in text and "\r" not in text:
        return " ".join(text.split())
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return _BLANK_LINES.sub("\n\n", "\n".join(map(_normal_line, lines))).strip()


def _normal_line(line: str) -> str:
    body = line.lstrip(" \t")
    words = " ".join(body.split())
    return line[: len(line) - len(body)] + words if words else ""
