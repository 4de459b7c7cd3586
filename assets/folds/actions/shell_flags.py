"""Arguments of common commands: which short flags commute, and which words are paths.

**Only listed flags are reordered.** One unknown flag leaves a command line as it is written. Separating two
equal commands by mistake costs one pair; merging two different ones invents a majority.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple


class Flags(NamedTuple):
    """Short flags of one command, read as getopt reads them."""

    commuting: str
    """Flags without a value; their order among all listed flags has no effect."""
    valued: str = ""
    """Flags that take a value, attached or as the next word."""
    conflicting: tuple[str, ...] = ()
    """Groups in which the last one given wins."""


class ParsedArguments(NamedTuple):
    """Arguments by their role."""

    flags: list[str]
    options: list[tuple[str, ...]]
    """(flag, value), or a lone `--name=value`, in order."""
    operands: list[str]


_GREP = Flags("cHhilLnoqrRsvwxEFPIaz", "ABCmef", ("Hh", "lL", "rR", "EFP"))
_KNOWN: dict[str, Flags] = {
    "ls": Flags("adFhilrRst"),
    "grep": _GREP,
    "egrep": _GREP,
    "fgrep": _GREP,
    "rg": Flags("nilcowvFu", "ABCgtTem", ("lc",)),
    "rm": Flags("rfvRd"),
    "cp": Flags("rRapvfu"),
    "mv": Flags("vfu"),
    "mkdir": Flags("pv", "m"),
    "wc": Flags("lwcmL"),
    "cat": Flags("nAbestTvE"),
    "head": Flags("qvz", "nc", ("qv", "nc")),
    "tail": Flags("fqvz", "nc", ("qv", "nc")),
    "tree": Flags("adfi", "LIP"),
    "sort": Flags("nrufbhgMVd", "kto", ("nhgMV",)),
    "uniq": Flags("cdiu"),
    "diff": Flags("urNqwbBiE"),
    "du": Flags("sahc", "d"),
    "df": Flags("hiT"),
    "ln": Flags("sfvnr"),
    "sed": Flags("nErsuz", "ef"),
    "pytest": Flags("xvqsl", "kmncpoW"),
}
PATTERN_COMMANDS = frozenset({"grep", "egrep", "fgrep", "rg", "sed"})
"""Commands whose first operand is a pattern and never a path."""
TEXT_COMMANDS = frozenset(
    [
        "echo",
        "printf",
        "awk",
        "gawk",
        "mawk",
        "perl",
        "expr",
        "test",
        "tr",
        "jq",
        "eval",
        "ssh",
        "xargs",
        "sudo",
        "time",
        "env",
        "nohup",
        "timeout",
        "exec",
        "command",
        "nice",
        "watch",
    ]
)
"""Commands whose words may be text, or another command line."""
_DOT_SLASH = re.compile(r"^(?:\./+)+")


def normal_arguments(name: str, arguments: Sequence[str]) -> list[str]:
    """Canonical words after a command's name: commuting flags as one sorted cluster, then options, then
    operands."""
    if name in ("python", "python3") and list(arguments[:2]) == ["-m", "pytest"]:
        return ["-m", "pytest", *normal_arguments("pytest", arguments[2:])]
    known = _KNOWN.get(name)
    parsed = _parse(known, arguments) if known else None
    if parsed is None:
        return _paths_after_unknown_flags(name, arguments)
    cluster = ["-" + "".join(sorted(parsed.flags))] if parsed.flags else []
    options = [word for option in parsed.options for word in option]
    return cluster + options + _normal_operands(name, parsed)


def _normal_operands(name: str, parsed: ParsedArguments) -> list[str]:
    if "--" in parsed.operands:
        return parsed.operands
    pattern_given = any(option[0] in ("-e", "-f") for option in parsed.options)
    patterns = 1 if name in PATTERN_COMMANDS and not pattern_given else 0
    return parsed.operands[:patterns] + [normal_path(word) for word in parsed.operands[patterns:]]


def normal_path(word: str) -> str:
    """The word without a redundant `./` in front."""
    rest = _DOT_SLASH.sub("", word)
    if rest == word or rest.startswith("-"):
        return word
    return rest or "."


def _parse(known: Flags, arguments: Sequence[str]) -> ParsedArguments | None:
    """Null if any flag is not listed, or two of them conflict."""
    parsed = ParsedArguments([], [], [])
    queue = list(reversed(arguments))
    while queue:
        word = queue.pop()
        if word == "--":
            parsed.operands.extend([word, *reversed(queue)])
            break
        if word.startswith("--") and "=" in word:
            parsed.options.append((word,))
        elif not word.startswith("-") or word == "-":
            parsed.operands.append(word)
        elif not _take_cluster(word[1:], known, queue, parsed):
            return None
    used = set(parsed.flags) | {option[0][1:] for option in parsed.options}
    return None if any(len(used & set(group)) > 1 for group in known.conflicting) else parsed


def _take_cluster(cluster: str, known: Flags, queue: list[str], parsed: ParsedArguments) -> bool:
    """Read one `-abc` word; false if it holds a flag that is not listed, or lacks its value."""
    for position, letter in enumerate(cluster):
        if letter in known.valued:
            value = cluster[position + 1 :] or (queue.pop() if queue else None)
            if value is not None:
                parsed.options.append((f"-{letter}", value))
            return value is not None
        if letter not in known.commuting:
            return False
        parsed.flags.append(letter)
    return True


def _paths_after_unknown_flags(name: str, arguments: Sequence[str]) -> list[str]:
    """Paths in canonical form, except for words that may be the value of the flag before them."""
    if name in PATTERN_COMMANDS or name in TEXT_COMMANDS:
        return list(arguments)
    previous = ["", *arguments]
    return [
        word if before.startswith("-") and "=" not in before else normal_path(word)
        for before, word in zip(previous, arguments, strict=False)
    ]
