"""Start Arrow without pandas, in processes that use no data frames.

**Arrow looks for pandas once**, with its first array, and imports it if it can. That takes longer than
importing a few traces. A later conversion to a frame still works: Arrow looks again then.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder

import pyarrow as pa


class _PandasBlocker(MetaPathFinder):
    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError(fullname)


def load_arrow_without_pandas() -> None:
    """Make the process's first array without pandas. Does nothing if pandas is loaded already."""
    with _pandas_blocked():
        pa.array([])


@contextmanager
def _pandas_blocked() -> Generator[None]:
    finder = _PandasBlocker()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
