"""Arrow without pandas, for processes that make no frames.

**Arrow asks once**, with its first array, and loads pandas if it can, which takes longer than importing few
traces. What wants a frame later still gets one: Arrow asks again then.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder

import pyarrow as pa


class _Absent(MetaPathFinder):
    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError(fullname)


def load_arrow_without_pandas() -> None:
    """To be called before a process makes its first array; nothing where pandas is loaded already."""
    with _absent():
        pa.array([])


@contextmanager
def _absent() -> Generator[None]:
    finder = _Absent()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
