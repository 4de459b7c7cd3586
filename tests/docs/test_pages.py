"""Goal: the pages say what the code says, and every word of the code's vocabulary is explained once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tracelake.lake.layout import MARKER, LandedName, landed_path, pin_path, table_path
from tracelake.schemas.events.columns import ENVELOPE_COLUMNS, payload_columns
from tracelake.schemas.events.event import Event
from tracelake.schemas.events.kinds import EVENT_CLASSES

ROOT = Path(__file__).parents[2]
DATA_MAP = (ROOT / "docs" / "data_map.md").read_text(encoding="utf-8")
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")

# fmt: off
WORDS = [
    "run", "attempt", "task", "rollout", "turn", "train_step", "trajectory", "branch", "group",
    "completion", "policy", "reward", "advantage", "event", "landed_file", "cursor", "table",
    "derived_table", "materialization", "pin", "arm", "experiment", "verdict", "envelope", "epoch",
    "conflict", "digest", "fold", "ledger", "lock", "manifest", "natural_key", "payload", "projection",
    "quarantine", "receipt", "replay", "state", "teacher", "student", "world", "writer", "upcast",
    "answer", "pair", "hint", "gate", "cluster", "grader", "audit", "budget",
    "reservation", "settlement", "tier"
]
# fmt: on


def rows_below(heading: str) -> list[list[str]]:
    """Cells of the first table below a heading."""
    section = DATA_MAP.split(f"\n{heading}\n", 1)[1].split("\n#", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


@pytest.mark.parametrize("cls", EVENT_CLASSES, ids=lambda cls: cls.KIND)
def test_every_field_of_every_event_has_its_type_and_meaning(cls: type[Event]) -> None:
    rows = rows_below(f"### `{cls.KIND}`")
    assert [name for name, _, _ in rows] == [f"`{name}`" for name in payload_columns(cls)]
    assert all(kind and meaning for _, kind, meaning in rows)
    for name, kind, _ in rows:
        assert kind.endswith(", required") == (type(None) not in _args(cls, name.strip("`")))
    assert f"Natural key: {', '.join(f'`{name}`' for name in cls.KEY)}." in DATA_MAP


def _args(cls: type[Event], name: str) -> tuple[object, ...]:
    return getattr(cls.model_fields[name].annotation, "__args__", ())


def test_the_envelope_is_explained_in_full() -> None:
    rows = rows_below("## Envelope")
    assert [name for name, _, _ in rows] == [f"`{name}`" for name in ENVELOPE_COLUMNS]
    assert all(meaning for _, _, meaning in rows)


def test_the_paths_of_the_map_are_those_of_the_layout() -> None:
    landed = landed_path(LandedName("K", "EPOCH", 0, "SHA256")).replace(f"{0:012d}", "SEQ")
    manifest = pin_path("NAME", 0).replace(f"{0:06d}", "NUMBER")
    for path in (MARKER, landed, table_path("K"), table_path("NAME"), manifest):
        assert f"| `{path}` |" in DATA_MAP


def entries() -> list[str]:
    return re.findall(r"^\*\*(.+)\*\*$", GLOSSARY, re.MULTILINE)


def test_the_glossary_is_sorted_and_explains_each_word_once() -> None:
    assert entries() == sorted(set(entries()))
    assert len(re.findall(r"^: \S", GLOSSARY, re.MULTILINE)) == len(entries())


@pytest.mark.parametrize("word", WORDS)
def test_every_word_of_the_vocabulary_has_an_entry(word: str) -> None:
    assert word.replace("_", " ") in entries()


@pytest.mark.parametrize("page", ["experiments.md", "data_map.md"])
def test_no_row_of_a_generated_page_lacks_its_meaning(page: str) -> None:
    rows = [line for line in (ROOT / "docs" / page).read_text().splitlines() if line.startswith("| ")]
    assert len(rows) > 20
    assert [row for row in rows if not row.rstrip().removesuffix("|").rsplit("|", 1)[-1].strip()] == []
