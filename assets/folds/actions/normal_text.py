"""White space of text, normalised in one way for every comparison of actions.

**Lines and their indentation stay**, because they are meaning in most of what tools are given (Python, YAML,
diffs). Everything else is one blank: runs inside a line, ends of lines, runs of empty lines, the ends of the
text.
**Normalising twice is normalising once.**
"""

from __future__ import annotations

import re

_BLANK_LINES = re.compile(r"\n{3,}")


def normal_text(text: str) -> str:
    """Text with its accidental white space removed."""
    if "\n" not in text and "\r" not in text:
        return " ".join(text.split())
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return _BLANK_LINES.sub("\n\n", "\n".join(map(_normal_line, lines))).strip()


def _normal_line(line: str) -> str:
    body = line.lstrip(" \t")
    words = " ".join(body.split())
    return line[: len(line) - len(body)] + words if words else ""
