"""Goal: the documents match the code: generated pages are fresh, links resolve, shipped files parse."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tracelake.schemas.experiments.experiment import load_experiment

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "ARCHITECTURE.md", *(ROOT / "docs").rglob("*.md")])


def test_generated_pages_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_resolve(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize(
    "path", sorted((ROOT / "examples" / "experiments").rglob("*.toml")), ids=lambda path: path.stem
)
def test_shipped_experiments_keep_their_contract(path: Path) -> None:
    assert load_experiment(path).id


def test_the_readme_names_every_top_level_package() -> None:
    links = sorted(path.name for path in (ROOT / "package" / "tracelake").iterdir() if path.is_symlink())
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(links) == 7
    assert [name for name in links if name != "examples" and f"`{name}/`" not in readme] == []


def test_the_readmes_two_commands_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for command in re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE):
        assert re.search(rf"^{command}:", makefile, re.MULTILINE)
