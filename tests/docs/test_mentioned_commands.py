"""Goal: every `tracelake …` and `make …` in a message, a docstring or a page exists, with those options."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from tracelake.cli.main import app

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("schemas", "lake", "producers", "assets", "consumers", "cli", "bench")
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").rglob("*.md"))]
MENTIONED = re.compile(r"`+tracelake ((?:[^`]|\n)+)`")
LINE = re.compile(r"^(?:\$ )?tracelake (.+)$", re.MULTILINE)


def texts_of(source: str) -> Iterator[str]:
    """String constants; of a formatted one with X for each value."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def unknown_in(line: str) -> str | None:
    """The first word that no command knows; None for a command that exists."""
    command: Any = typer.main.get_command(app)
    # The generated reference says `[OPTIONS] COMMAND` where a person writes them.
    for word in re.sub(r"#.*|\[[A-Z].*", "", line).split():
        if word.startswith("--"):
            options = {name for parameter in command.params for name in parameter.opts}
            if word.split("=")[0].rstrip(".,;:)") not in options:
                return word
        elif commands := getattr(command, "commands", None):
            command = commands.get(word.split("|")[0].rstrip(".,;:)"))
            if command is None:
                return word
    return None


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_command_in_a_message_exists(path: Path) -> None:
    mentioned = [each for text in texts_of(path.read_text()) for each in MENTIONED.findall(text)]
    assert [(each, unknown) for each in mentioned if (unknown := unknown_in(each))] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_command_on_a_page_exists(path: Path) -> None:
    text = path.read_text()
    mentioned = [*MENTIONED.findall(text), *LINE.findall(text)]
    assert [(each, unknown) for each in mentioned if (unknown := unknown_in(each))] == []


def test_a_mentioned_make_target_exists() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    mentioned = {
        (path.name, target)
        for path in [*PAGES, *SOURCES]
        for target in re.findall(r"`make ([\w-]+)", path.read_text())
    }
    assert len(mentioned) > 5
    assert {each for each in mentioned if each[1] not in targets} == set()


def test_an_unknown_command_is_found() -> None:
    assert unknown_in("query --tables") == "--tables"
    assert unknown_in("project --lake x") == "project"
    assert unknown_in("teachers costs --lake x") is None
