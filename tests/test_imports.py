"""Goal: the arrows between the folders hold, and what is light stays light.

Method: import-linter with the contracts of pyproject.toml, and fresh interpreters that say what they loaded.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {
    "torch",
    "trl",
    "transformers",
    "datasets",
    "accelerate",
    "dagster",
    "openai",
    "altair",
    "scipy",
    "typer",
}


def loaded(statement: str) -> set[str]:
    """Modules that a fresh interpreter holds after a statement: top-level ones, and rooms of tracelake."""
    code = (
        f"{statement}\nimport sys\n"
        "print(*{name.removeprefix('tracelake.').partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_contracts_of_the_folders_hold() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("package", ["schemas", "lake"])
def test_every_module_of_the_light_packages_loads_nothing_heavy(package: str) -> None:
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / package).rglob("*.py")
    ]
    statement = "\n".join(f"import tracelake.{name.removesuffix('.__init__')}" for name in sorted(names))
    assert loaded(statement) & HEAVY == set()


def test_the_schemas_need_neither_polars_nor_lance() -> None:
    names = ("events.kinds", "events.columns", "pin")
    statement = "\n".join(f"import tracelake.schemas.{name}" for name in names)
    assert loaded(statement) & {"polars", "lance", "lake"} == set()


def test_opening_and_writing_need_neither_polars_nor_lance(tmp_path: Path) -> None:
    statement = (
        "from tracelake.lake import Lake\n"
        "from tracelake.schemas.events.rollout_events import RolloutEnded\n"
        f"lake = Lake.create({str(tmp_path / 'lake')!r})\n"
        "with lake.writer('run') as writer:\n"
        "    writer.append([RolloutEnded(rollout_id='r', stop_reason='completed', turn_count=1)])\n"
    )
    assert loaded(statement) & {"polars", "lance", "lancedb", *HEAVY} == set()


def test_the_command_line_starts_without_what_its_commands_need() -> None:
    needed = {"torch", "trl", "transformers", "dagster", "polars", "lance", "pyarrow", "pydantic"}
    assert loaded("import tracelake.cli.main") & needed == set()


@pytest.mark.parametrize("package", ["schemas", "lake", "producers", "assets", "consumers", "cli"])
def test_no_module_has_two_names(package: str) -> None:
    """At the project's top a folder could be imported by its own name too."""
    command = [sys.executable, "-c", f"import {package}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"import it as `tracelake.{package}`" in done.stderr
