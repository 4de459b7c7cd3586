"""Goal: the code stays readable: bounded files and functions, plain names, a docstring for every module.

Method: every tracked file is read, every module parsed. The limits catch the tail; they are no target. The
one list of exemptions is that of dialect words: it started empty and may only shrink.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = ("schemas", "lake", "producers", "assets", "consumers")
PACKAGES = (*LIBRARY, "cli")
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70

BANNED_STEMS = {
    "util",
    "utils",
    "common",
    "helper",
    "helpers",
    "misc",
    "manager",
    "handler",
    "handle",
    "process",
}
BANNED_IDENTIFIERS = {"step", "steps", "manager", "do_it"}
# Words of the project's old dialect. A name says what a thing is or does.
DIALECT_WORDS = {
    *("told", "tell", "tells", "kept", "held", "beside", "tend", "tends", "judge", "judges", "judged"),
    *("judging", "room", "book", "books", "booked", "waking", "course", "made", "heal", "heals", "healed"),
    *("habits", "outrun", "restated", "settle", "settles", "settled"),
}
# `settle` is the word for payments, and only there.
PAYMENT_FOLDERS = (
    "schemas/events/teacher_events",
    "producers/teachers/",
    "producers/calling/",
    "assets/folds/replay_cost/",
    "assets/verdicts/",
    "cli/commands/replay",
    "cli/replay_text",
    "bench/replay",
)
DIALECT_EXEMPTIONS: frozenset[str] = frozenset()
"""Identifiers that may contain a dialect word. This set may only shrink."""
# Written in pieces, so that this file does not name what it bans.
UNFINISHED = re.compile(
    "|".join(rf"\b{word}\b" for word in ("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"))
)
MACHINE_PATH = re.compile(
    r"(?<![\w.~-])/(?:wo" + r"rk|ro" + r"ot|ho" + r"me/(?!someone\b)\w+|Us" + r"ers/\w+|tm" + r"p/w)(?:/|\b)"
)
REGISTRY = re.compile(
    "|".join(
        re.escape(".".join(parts))
        for parts in [
            ("pypi", "org"),
            ("pythonhosted", "org"),
            ("npmjs", "org"),
            ("crates", "io"),
            ("docker", "io"),
            ("ghcr", "io"),
            ("quay", "io"),
            ("anaconda", "org"),
            ("download", "pytorch", "org"),
            ("proxy", "golang", "org"),
        ]
    )
)
LOCK_NAMES = re.compile(r"(^|/)(uv|poetry|pdm|Pipfile|Cargo|yarn)\.lock$|-lock\.(json|yaml)$|\.lockb$")


class Function(NamedTuple):
    """One function, with the lines that it has without its docstring."""

    where: str
    line_count: int
    node: ast.FunctionDef | ast.AsyncFunctionDef


@cache
def tracked() -> tuple[str, ...]:
    """Files that git keeps, or would keep if they were added."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return tuple(sorted(path for path in set(listed.splitlines()) if (ROOT / path).is_file()))


@cache
def parsed(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def modules(*packages: str) -> list[str]:
    return [path for path in tracked() if path.endswith(".py") and path.split("/")[0] in packages]


def every_module() -> list[str]:
    return [path for path in tracked() if path.endswith(".py")]


def functions(path: str) -> Iterator[Function]:
    def below(node: ast.AST, prefix: str) -> Iterator[Function]:
        for child in ast.iter_child_nodes(node):
            named = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            name = f"{prefix}.{child.name}" if named and prefix else child.name if named else prefix
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield Function(f"{path}::{name}", length(child), child)
            yield from below(child, name)

    yield from below(parsed(path), "")


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    if ast.get_docstring(node) is not None:
        text = node.body[0]
        lines -= (text.end_lineno or text.lineno) - text.lineno + 1
    return lines


def line_count(path: str) -> int:
    return len((ROOT / path).read_text(encoding="utf-8").splitlines())


def test_every_package_is_looked_at() -> None:
    assert all(modules(package) for package in PACKAGES)


def test_no_file_and_no_function_exceeds_its_limit() -> None:
    files = {path: line_count(path) for path in every_module() if line_count(path) > FILE_LINES_MAX}
    assert files == {}
    bodies = [function for path in every_module() for function in functions(path)]
    assert {each.where: each.line_count for each in bodies if each.line_count > FUNCTION_LINES_MAX} == {}


def test_every_module_says_what_it_owns() -> None:
    silent = [path for path in every_module() if parsed(path).body and not ast.get_docstring(parsed(path))]
    assert silent == []


def test_no_file_is_named_after_nothing() -> None:
    assert [path for path in every_module() if Path(path).stem in BANNED_STEMS] == []


def given_names(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Names that a module gives, with their lines; not those that it takes from elsewhere."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno


def test_no_name_says_nothing_and_a_turn_is_no_step() -> None:
    names = [(path, *name) for path in modules(*PACKAGES) for name in given_names(parsed(path))]
    assert [
        name for name in names if name[1].lstrip("_") in BANNED_IDENTIFIERS or name[1].endswith("Manager")
    ] == []


def words_of(name: str) -> list[str]:
    """Lower-case words of an identifier, in snake case or camel case."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]


def dialect_in(path: str, name: str) -> list[str]:
    """Dialect words in a name that a file gives; `held_out` is the field's own term."""
    words = words_of(re.sub(r"(?i)held_?out", "", name))
    found = [word for word in words if word in DIALECT_WORDS]
    about_payments = any(folder in path for folder in PAYMENT_FOLDERS)
    return [word for word in found if not (about_payments and word.startswith("settle"))]


def methods_of_streams(path: str) -> set[int]:
    """Lines of methods whose names a stream of the standard library prescribes, such as `tell`."""
    streams = [
        node
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ClassDef) and any("io." in ast.unparse(base) for base in node.bases)
    ]
    return {
        node.lineno
        for stream in streams
        for node in stream.body
        if isinstance(node, ast.FunctionDef) and hasattr(io.IOBase, node.name)
    }


def test_no_name_uses_the_old_dialect() -> None:
    found = sorted(
        {
            f"{path}:{line} {name}"
            for path in every_module()
            for name, line in given_names(parsed(path))
            if name not in DIALECT_EXEMPTIONS
            and dialect_in(path, name)
            and line not in methods_of_streams(path)
        }
    )
    assert found == []


def test_every_dialect_exemption_is_needed() -> None:
    names = {name for path in every_module() for name, _ in given_names(parsed(path))}
    assert sorted(DIALECT_EXEMPTIONS - names) == []


def test_dialect_words_are_found_in_every_spelling() -> None:
    assert dialect_in("lake/x.py", "was_told") == ["told"]
    assert dialect_in("lake/x.py", "_SettledAfter") == ["settled"]
    assert dialect_in("producers/teachers/x.py", "settled_usd") == []
    assert dialect_in("producers/x.py", "HELD_OUT_COUNT") == []
    assert dialect_in("producers/x.py", "household") == []


def test_libraries_do_not_print() -> None:
    calls = [
        f"{path}:{node.lineno}"
        for path in modules(*LIBRARY)
        for statement in parsed(path).body
        # A module that is a command too may say where it listens.
        if not (isinstance(statement, ast.FunctionDef) and statement.name == "main")
        for node in ast.walk(statement)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("print", "breakpoint")
    ]
    assert calls == []


def is_public(where: str) -> bool:
    return not any(
        part.startswith("_") and not part.startswith("__") for part in where.split("::")[1].split(".")
    )


def unannotated(function: Function) -> bool:
    arguments = function.node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    if "." in function.where.split("::")[1]:
        positional = [each for each in positional if each.arg not in ("self", "cls")]
    rest = [each for each in (arguments.vararg, arguments.kwarg) if each is not None]
    untyped = [each for each in [*positional, *arguments.kwonlyargs, *rest] if each.annotation is None]
    return bool(untyped) or function.node.returns is None


def test_public_functions_are_annotated_in_full() -> None:
    everywhere = [function for path in modules(*PACKAGES) for function in functions(path)]
    assert [each.where for each in everywhere if is_public(each.where) and unannotated(each)] == []


@cache
def texts() -> dict[str, str]:
    """Tracked files that are text."""
    found: dict[str, str] = {}
    for path in tracked():
        try:
            found[path] = (ROOT / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    return found


@pytest.mark.parametrize(
    ("pattern", "suffixes"),
    [(UNFINISHED, (".py", ".toml", ".md")), (MACHINE_PATH, ("",)), (REGISTRY, ("",))],
    ids=["nothing is left for later", "no path of a machine", "no registry"],
)
def test_no_tracked_file_holds(pattern: re.Pattern[str], suffixes: tuple[str, ...]) -> None:
    found = [
        f"{path}:{number}: {line.strip()[:80]}"
        for path, text in texts().items()
        if path.endswith(suffixes)
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


def test_the_patterns_find_what_they_are_for() -> None:
    machine = [
        "/wo" + "rk/main",
        "cd /wo" + "rk",
        "'/ho" + "me/ann/x'",
        "/tm" + "p/w/brief",
        "/Us" + "ers/ann",
    ]
    assert all(MACHINE_PATH.search(text) for text in machine)
    harmless = [
        "examples/wo" + "rk/x",
        "/workspace",
        "net" + "work/x",
        "/tmp/x",
        "~/wo" + "rk",
        "a/ho" + "me/ann",
    ]
    assert not [text for text in harmless if MACHINE_PATH.search(text)]
    assert REGISTRY.search("https://py" + "pi.org/simple")
    assert UNFINISHED.search("# TO" + "DO: later")


def test_no_lock_file_is_tracked() -> None:
    assert [path for path in tracked() if LOCK_NAMES.search(path)] == []
