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
    """Top-level modules that a fresh interpreter holds after a statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
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
    statement = "\n".join(f"import {name.removesuffix('.__init__')}" for name in sorted(names))
    assert loaded(statement) & HEAVY == set()


def test_the_schemas_need_neither_polars_nor_lance() -> None:
    assert (
        loaded("import schemas.events, schemas.columns, schemas.pin") & {"polars", "lance", "lake"} == set()
    )


def test_opening_and_writing_need_neither_polars_nor_lance(tmp_path: Path) -> None:
    statement = (
        "from lake import Lake\n"
        "from schemas.rollout_events import RolloutEnded\n"
        f"lake = Lake.create({str(tmp_path / 'lake')!r})\n"
        "with lake.writer('run') as writer:\n"
        "    writer.append([RolloutEnded(rollout_id='r', stop_reason='completed', turn_count=1)])\n"
    )
    assert loaded(statement) & {"polars", "lance", "lancedb", *HEAVY} == set()


def test_the_command_line_starts_without_what_its_commands_need() -> None:
    needed = {"torch", "trl", "transformers", "dagster", "polars", "lance", "pyarrow", "pydantic"}
    assert loaded("import cli.main") & needed == set()
