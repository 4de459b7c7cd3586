"""Seal the segments of a writer that appends fast, in a process of its own.

Flow: path of a closed segment → (process: read, seal, land, retire) → its answer.

**The producer's interpreter stays free**: if a thread compressed segments, each append would wait for the
interpreter's lock.
**Sealed as a recovery would**: from the segment's file. Whichever process does it, the same files land.
**The process outlives its writer by one segment at most**: it ends when its input ends.
"""

from __future__ import annotations

import base64
import os
import select
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from tracelake.lake.writing.spool import sealing_main
from tracelake.schemas.errors import SpoolError
from tracelake.schemas.events.columns import arrow_schemas

END_WAIT_S = 60.0
POLL_S = 0.02
_PACKAGE_FOLDER = Path(__file__).parents[4]
# Memory of one segment is reused for the next: fresh memory costs as much time as compressing does.
_REUSE_MEMORY = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(512 * 2**20),
}


class SealingProcess:
    """One process, which seals one segment after the other; threads may share it."""

    def __init__(self, store_uri: str) -> None:
        self._lock = threading.Lock()
        self._ready = self._ended = False
        self._process = subprocess.Popen(
            command(store_uri),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Unbuffered: no line that a dead process did not read is left when its pipe is closed.
            bufsize=0,
            env=environment(),
            # An interrupt is for the writer, which then closes or leaves its segments to a recovery.
            start_new_session=True,
        )

    def is_ready(self, wait_s: float = 0.0) -> bool:
        """Whether it would seal at once. Always false for a process that ended before it was ready."""
        with self._lock:
            output = self._process.stdout
            assert output is not None
            if not self._ready and not self._ended and select.select([output], [], [], wait_s)[0]:
                self._greet()
            return self._ready

    def is_ready_before(self, is_waited_for: threading.Event) -> bool:
        """Wait until it is ready, has ended, or the event is set; returns whether it is ready."""
        while not self.is_ready(POLL_S):
            if self._ended or is_waited_for.is_set():
                return False
        return True

    def seal(self, path: Path, byte_count: int) -> None:
        """Returns when the segment has landed and is retired. Raises the OSError that the process met,
        SpoolError for its other errors."""
        with self._lock:
            if not self._ready:
                self._greet()
            answer = self._request(path, byte_count)
        if answer.get("errno"):
            raise OSError(answer["errno"], answer["error"])
        if "error" in answer:
            raise SpoolError("a segment could not be sealed", got=answer["error"], expected=str(path))

    def stop(self) -> None:
        """Returns when the process has ended."""
        with self._lock:
            process = self._process
            if not self._ready:
                # It has no request.
                process.kill()
            try:
                # An empty line ends it. Closing its input may not: a forked process may have the pipe open.
                process.communicate(b"\n", timeout=END_WAIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()

    def _greet(self) -> None:
        """Wait for its first line and send it the kinds' schemas."""
        sender, receiver = self._process.stdin, self._process.stdout
        assert sender is not None
        assert receiver is not None
        self._ready = receiver.readline() == sealing_main.READY
        self._ended = not self._ready
        if self._ready:
            # If it has died since, the next request finds out.
            with suppress(BrokenPipeError):
                sender.write(_schemas_line())

    def _request(self, path: Path, byte_count: int) -> dict[str, Any]:
        sender, receiver = self._process.stdin, self._process.stdout
        assert sender is not None
        assert receiver is not None
        try:
            # The path within the spool: the lake's own folder may have a line break in its name.
            sender.write(f"{byte_count} {path.parent.name}/{path.name}\n".encode())
            line = receiver.readline()
        except BrokenPipeError:
            line = b""
        if not line.endswith(b"\n"):
            return {"error": f"its process ended with status {self._process.wait()}"}
        return orjson.loads(line)


def command(store_uri: str) -> list[str]:
    """The command line of the process."""
    # -P: modules in the user's working folder must not shadow ours.
    return [sys.executable, "-P", "-m", sealing_main.__name__, store_uri]


def environment() -> dict[str, str]:
    """The environment of the process, which finds this very package."""
    paths = [str(_PACKAGE_FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, **_REUSE_MEMORY, "PYTHONPATH": os.pathsep.join(paths)}


def _schemas_line() -> bytes:
    """The first line of its input."""
    schemas = arrow_schemas()
    encoded = {kind: base64.b64encode(schema.serialize()).decode() for kind, schema in schemas.items()}
    return orjson.dumps(encoded) + b"\n"
