"""The checks of `tracelake doctor`."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tracelake.lake import Lake
from tracelake.lake.stores.local_store import LocalStore
from tracelake.lake.stores.probe import check_conditional_writes
from tracelake.lake.stores.store import is_local, open_store
from tracelake.schemas.errors import LakeMissingError, TracelakeError

PYTHON_OLDEST = (3, 11)
DISK_FREE_GIB_WANTED = 2.0
LIBRARIES = ("pyarrow", "polars", "pylance", "pydantic", "dagster", "httpx2")
TRAINING_LIBRARIES = ("torch", "trl", "transformers")


class Finding(NamedTuple):
    status: str
    """PASS, WARN or FAIL."""
    what: str
    found: str
    cure: str


def examine(lake: str) -> list[Finding]:
    """Run every check. Raises BadInputError for an address that names no store."""
    checks: tuple[Callable[[str], Iterator[Finding]], ...] = (
        _python,
        _libraries,
        _disk,
        _store,
        _lake,
        _dagster,
        _keys,
    )
    open_store(lake)
    return [finding for check in checks for finding in check(lake)]


def _python(_: str) -> Iterator[Finding]:
    good = sys.version_info[:2] >= PYTHON_OLDEST
    yield Finding(
        "PASS" if good else "FAIL",
        "python",
        platform.python_version(),
        "" if good else "Use Python 3.11 or newer.",
    )


def _libraries(_: str) -> Iterator[Finding]:
    for names, status in ((LIBRARIES, "FAIL"), (TRAINING_LIBRARIES, "WARN")):
        for name in names:
            try:
                yield Finding("PASS", name, importlib.metadata.version(name), "")
            except importlib.metadata.PackageNotFoundError:
                extra = "tracelake[train]" if status == "WARN" else "tracelake"
                yield Finding(status, name, "not installed", f"pip install '{extra}'")


def _disk(lake: str) -> Iterator[Finding]:
    folder = _nearest_folder(lake)
    if folder is None:
        return
    free = shutil.disk_usage(folder).free / 2**30
    good = free >= DISK_FREE_GIB_WANTED
    yield Finding(
        "PASS" if good else "WARN", "disk", f"{free:.1f} GiB free", "" if good else "Free some disk space."
    )


def _store(lake: str) -> Iterator[Finding]:
    """Create-if-absent must refuse a second writer, or files would be overwritten silently."""
    try:
        folder = _nearest_folder(lake)
        if folder is None:
            check_conditional_writes(open_store(lake))
        else:
            with tempfile.TemporaryDirectory(dir=folder, prefix=".tracelake-doctor-") as scratch:
                check_conditional_writes(LocalStore(Path(scratch)))
    except TracelakeError as error:
        yield Finding("FAIL", "store", str(error), "")
    except OSError as error:
        cure = "Choose a folder that you may write to, on a file system with hard links."
        yield Finding("FAIL", "store", f"cannot write: {error.strerror}", cure)
    else:
        yield Finding("PASS", "store", "conditional creates work, in sequence and in a race", "")


def _lake(lake: str) -> Iterator[Finding]:
    try:
        opened = Lake.open(lake)
    except LakeMissingError:
        yield Finding("WARN", "lake", "none here", "Run `tracelake init`.")
        return
    except TracelakeError as error:
        yield Finding("FAIL", "lake", str(error), "")
        return
    audit = opened.verify()
    cure = "" if audit.ok else "Run `tracelake verify --deep`."
    found = f"{audit.landed_events} events, {audit.pins} pins, {len(audit.problems)} problems"
    yield Finding("PASS" if audit.ok else "FAIL", "lake", found, cure)


def _nearest_folder(lake: str) -> Path | None:
    """The folder of a local lake or its nearest existing parent; None for a remote lake."""
    store = open_store(lake)
    if not is_local(store):
        return None
    folder = Path(store.uri)
    while not folder.is_dir():
        folder = folder.parent
    return folder


def _dagster(_: str) -> Iterator[Finding]:
    home = os.environ.get("DAGSTER_HOME")
    if home or Path(".env").is_file():
        yield Finding("PASS", "dagster home", home or "set by .env for dg", "")
    else:
        yield Finding("WARN", "dagster home", "not set", "Set DAGSTER_HOME, or Dagster forgets its runs.")


def _keys(_: str) -> Iterator[Finding]:
    present = bool(os.environ.get("OPENROUTER_API_KEY"))
    yield Finding(
        "PASS" if present else "WARN",
        "OPENROUTER_API_KEY",
        "set" if present else "not set",
        "" if present else "Only paid teachers need it.",
    )
