"""Goal: secrets that a folder of traces contains are in no file of the lake and on no screen after an import.

Method: a real import and build as processes, of traces with every named shape in messages, outputs, ids,
paths, a submitted diff, exceptions and torn files; then every byte and every column is searched.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.parquet as pq

from tests.lake.secrets.secret_shapes import NAMED_SHAPES, PLACES, Shape, forms_left
from tests.producers.importers.samples import mini
from tracelake.lake.lake import Lake


def test_no_named_shape_survives_an_import(tmp_path: Path) -> None:
    folder = tmp_path / "traces"
    shapes: list[Shape] = []
    for index, (name, make) in enumerate(NAMED_SHAPES.items()):
        random = Random(name)

        def planted(make: Any = make, random: Random = random) -> Shape:
            shapes.append(make(random))
            return shapes[-1]

        plant(folder / f"run{index}", planted, str(index))
    results = [cli(tmp_path, "import", str(folder)), cli(tmp_path, "build")]
    # Files with nothing to read are refused: the import says so, and does the rest.
    assert all("Traceback" not in result.stderr for result in results), results
    everything = [result.stdout + result.stderr for result in results] + contents(tmp_path / "lake")
    whole = "\n".join(everything)
    assert whole.count("⟦secret:") > len(shapes)
    assert forms_left(shapes, whole) == []


def plant(folder: Path, planted: Any, stem: str) -> None:
    folder.mkdir(parents=True)
    document = mini()
    document["messages"][1]["content"] = "\n".join(make(planted()) for make in PLACES.values())
    for message in document["messages"][2:]:
        if message.get("role") in ("tool", "user"):
            message["content"] = PLACES["tool output"](planted())
    document["info"]["submission"] = PLACES["diff line"](planted())
    document["info"]["exception_str"] = PLACES["exception text"](planted())
    document["instance_id"] = f"repo__{one_line(planted())}__{stem}"
    (folder / "a.traj.json").write_text(json.dumps(document))
    # A path has no `//`, so an address cannot be the name of a folder.
    shape = planted()
    named = folder / ("x" if "//" in shape.text else one_line(shape)[:200])
    named.mkdir(parents=True)
    (named / "b.traj.json").write_text(json.dumps({**mini(), "instance_id": f"b{stem}"}))
    torn = json.dumps({**mini(), "note": planted().text})
    (folder / "torn.traj.json").write_text(torn[:-3])
    (folder / "torn.jsonl").write_text('{"a": 1}\n{"key": ' + json.dumps(planted().text) + ', "cut')


def one_line(shape: Shape) -> str:
    """As an id or a name of a folder: nothing of a block of many lines fits, its line does."""
    return shape.text if "\n" not in shape.text else "x"


def cli(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    start = "from tracelake.cli.main import main; main()"
    command = [sys.executable, "-c", start, *arguments, "--lake", str(folder / "lake")]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=300, check=False)


def contents(lake: Path) -> list[str]:
    """Every file as bytes, and every column of landed files and tables as text."""
    found: list[str] = []
    for path in sorted(lake.rglob("*")):
        if path.is_file():
            found += [str(path), path.read_bytes().decode("latin-1")]
            if path.suffix == ".parquet":
                found.append(str(pq.read_table(path).to_pylist()))
    opened = Lake.open(str(lake))
    found += [str(opened.scan(table).collect().to_dicts()) for table in opened.tables()]
    return found
