"""What the sealing process does: a segment after the other, until its writer says no more.

Input: a line with the kinds' Arrow schemas, then one for each segment, its length and name. Output: a line
when it is up, then one for each segment: an empty object, or what went wrong.
"""

from __future__ import annotations

import base64
import gc
import os
import sys
from typing import Any

import orjson
import pyarrow as pa

from tracelake.lake.stores.store import open_store
from tracelake.lake.writing.spool.sealing import seal_segment
from tracelake.schemas.errors import TracelakeError

READY = b"ready\n"


def main() -> None:
    # Segments are made of thousands of small objects, and none of them in circles.
    gc.freeze()
    gc.set_threshold(100_000)
    store = open_store(sys.argv[1])
    assert store.spool_folder is not None
    os.write(sys.stdout.fileno(), READY)
    schemas = _schemas(sys.stdin.buffer.readline())
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
            # Nothing lands after a segment that did not.
            return


def schemas_line(schemas: dict[str, pa.Schema]) -> bytes:
    """Its first line of input."""
    told = {kind: base64.b64encode(schema.serialize()).decode() for kind, schema in schemas.items()}
    return orjson.dumps(told) + b"\n"


def _schemas(line: bytes) -> dict[str, pa.Schema]:
    told: dict[str, str] = orjson.loads(line or b"{}")
    return {kind: pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text))) for kind, text in told.items()}
