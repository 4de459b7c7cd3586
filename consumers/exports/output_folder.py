"""The folder of an export: it has its name only when it is whole.

**Files are written into a hidden sibling**, which is renamed at the end: an export that fails or is
interrupted leaves nothing. A killed process can leave the sibling, never the named folder.
**Nothing is overwritten**: a folder that is not empty is refused.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from tracelake.schemas.errors import BadInputError


def check_free(folder: Path) -> None:
    """Raises BadInputError unless the folder is missing or empty."""
    if folder.is_symlink() or folder.exists():
        if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
            return
        raise BadInputError(
            "the folder of an export must be new or empty",
            got=str(folder),
            expected="a folder that does not exist",
            cure="Name another folder, or remove this one.",
        )


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yields a folder to write into; it becomes `folder` when the block ends without an error.

    Raises BadInputError if `folder` is not free, at the start or at the end.
    """
    folder = folder.absolute()
    check_free(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.parent / f".{folder.name}.{secrets.token_hex(4)}.partial"
    partial.mkdir()
    try:
        yield partial
        _sync(partial)
        check_free(folder)
        # Replaces an empty folder, and fails if somebody has put a file into it in the meantime.
        os.rename(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _sync(folder: Path) -> None:
    """Make every file durable before the folder gets its name."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
