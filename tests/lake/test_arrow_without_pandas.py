"""Goal: pandas is loaded by what makes frames, and by nothing else."""

from __future__ import annotations

import subprocess
import sys

FORGONE = """
import sys
from tracelake.lake.arrow_without_pandas import load_arrow_without_pandas
load_arrow_without_pandas()
import pyarrow as pa
table = pa.table({"name": pa.array(["a", None]), "count": [1, 2]})
"""


def told_by(program: str) -> str:
    """In a process of its own: what is loaded here says nothing."""
    return subprocess.run(
        [sys.executable, "-c", FORGONE + program], capture_output=True, text=True, check=True, timeout=120
    ).stdout.strip()


def test_arrays_and_tables_are_made_without_it() -> None:
    assert told_by("print('pandas' in sys.modules, table.num_rows)") == "False 2"


def test_a_frame_is_still_to_be_had() -> None:
    assert told_by("print(table.to_pandas().shape, 'pandas' in sys.modules)") == "(2, 2) True"
