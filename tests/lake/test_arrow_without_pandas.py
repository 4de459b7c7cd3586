"""Goal: only code that converts to data frames loads pandas."""

from __future__ import annotations

import subprocess
import sys

WITHOUT_PANDAS = """
import sys
from tracelake.lake.arrow_without_pandas import load_arrow_without_pandas
load_arrow_without_pandas()
import pyarrow as pa
table = pa.table({"name": pa.array(["a", None]), "count": [1, 2]})
"""


def output_of(program: str) -> str:
    """In a new process: this one may have loaded pandas already."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_PANDAS + program],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout.strip()


def test_arrays_and_tables_do_not_load_pandas() -> None:
    assert output_of("print('pandas' in sys.modules, table.num_rows)") == "False 2"


def test_a_data_frame_can_still_be_built() -> None:
    assert output_of("print(table.to_pandas().shape, 'pandas' in sys.modules)") == "(2, 2) True"
