"""The page about importers: its example is an importer, and its table lists every format."""

from __future__ import annotations

import re
import types
from pathlib import Path

from tests.producers.importers.samples import as_lines
from tracelake.producers.importers.format_registry import BUILT_IN
from tracelake.producers.importers.importer import ImportedRollout, Importer, ImportOptions
from tracelake.producers.importers.source import source_of_bytes

PAGE = (Path(__file__).parents[2] / "docs" / "importers.md").read_text(encoding="utf-8")


def test_the_table_lists_every_format():
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    names = {name for row in rows for name in re.findall(r"`([a-z0-9-]+)`", row.split("|")[1])}
    assert names == {importer.format for importer in BUILT_IN}


def test_the_example_imports_its_lines_and_loses_nothing():
    code = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert code is not None
    module = types.ModuleType("example")
    exec(code[1], module.__dict__)
    importer = module.IMPORTER
    assert isinstance(importer, Importer)
    line = {"uid": 7, "question": "2 + 2?", "reply": "4", "ok": True}
    source = source_of_bytes("ours.jsonl", as_lines([line | {"planted": "91c4"}, line | {"uid": 8}]))
    assert importer.claims(source)
    first, second = importer.read(source, ImportOptions())
    assert isinstance(first, ImportedRollout)
    assert isinstance(second, ImportedRollout)
    assert (first.reward, first.turn_count) == (1.0, 1)
    assert "91c4" in str(first.events[-1])
