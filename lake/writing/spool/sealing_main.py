"""The program of the sealing process (`python -m`): it seals one segment after the other for its writer.

Input: a line with the kinds' Arrow schemas, then a line per segment, its length and name, then an empty line.
Output: `READY` once everything is loaded, then a line per segment: an empty JSON object, or the error.

**NumPy and pandas are not loaded**: Arrow would import both, and sealing needs neither, nor the time and
memory that they take. Therefore this module imports Arrow, and whatever imports it, within `main`.
"""

from __future__ import annotations

import base64
import gc
import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import pyarrow as pa

READY = b"ready\n"
NOT_LOADED = ("numpy", "pandas")


def main(store_uri: str) -> None:
    # An import of a module whose entry is null raises ImportError, and Arrow goes on without it.
    cast("dict[str, ModuleType | None]", sys.modules).update(dict.fromkeys(NOT_LOADED))
    import orjson

    from tracelake.lake.stores.store import open_store
    from tracelake.lake.writing.spool.sealing import seal_segment
    from tracelake.schemas.errors import TracelakeError

    # A segment becomes thousands of small objects without reference cycles.
    gc.freeze()
    gc.set_threshold(100_000)
    store = open_store(store_uri)
    assert store.spool_folder is not None
    os.write(sys.stdout.fileno(), READY)
    schemas = _read_schemas(sys.stdin.buffer.readline())
    for line in iter(sys.stdin.buffer.readline, b"\n"):
        if not line:
            return
        answer: dict[str, Any] = {}
        try:
            byte_count, _, name = line.decode().strip().partition(" ")
            seal_segment(store, store.spool_folder / name, int(byte_count), schemas.__getitem__)
        except (TracelakeError, OSError) as error:
            answer = {"error": str(error), "errno": getattr(error, "errno", None)}
        try:
            os.write(sys.stdout.fileno(), orjson.dumps(answer) + b"\n")
        except BrokenPipeError:
            return
        if answer:
            # Nothing may land after a segment that did not.
            return


def _read_schemas(line: bytes) -> dict[str, pa.Schema]:
    import orjson
    import pyarrow as pa

    encoded: dict[str, str] = orjson.loads(line or b"{}")
    return {kind: pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text))) for kind, text in encoded.items()}


if __name__ == "__main__":
    main(sys.argv[1])
