"""Seals the segments of a writer that appends fast in a process of its own.

Flow: path of a closed segment → (process) read, sealed, landed, removed → told.

**The producer's interpreter is left alone**: compressing beside it in a thread would make each append wait
for the interpreter's lock.
**A segment is sealed as a recovery would**: from its file. Whoever does it, the same files land.
**The process outlives its writer by one segment at most**: it ends when nobody can tell it anything more.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from tracelake.lake.writing.spool.sealing_main import READY, schemas_line
from tracelake.schemas.errors import SpoolError
from tracelake.schemas.events.columns import arrow_schemas

END_WAIT_S = 60.0
LOOK_EVERY_S = 0.02
# Arrow loads NumPy, and would load pandas, where it can; sealing needs neither, nor time and memory for them.
SCRIPT = """
import sys
sys.modules["numpy"] = sys.modules["pandas"] = None
from tracelake.lake.writing.spool.sealing_main import main
main()
"""
# Buffers of one segment are used again for the next: fresh memory costs as much time as compressing does.
_MEMORY_KEPT = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(512 * 2**20),
}


class SealingProcess:
    """One process; several threads may ask it, it does one segment after the other."""

    def __init__(self, store_uri: str) -> None:
        package_root = str(Path(__file__).parents[4])
        paths = [package_root, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._lock = threading.Lock()
        self._ready = self._ended = False
        self._process = subprocess.Popen(
            # Without the folder that the user happens to be in among the places of modules.
            [sys.executable, "-P", "-c", SCRIPT, store_uri],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Unbuffered: no line that a dead process did not take is left for the closing of its pipe.
            bufsize=0,
            env={**os.environ, **_MEMORY_KEPT, "PYTHONPATH": os.pathsep.join(paths)},
            # An interrupt is for the writer, which then closes or leaves its segments to a recovery.
            start_new_session=True,
        )

    def is_ready(self, wait_s: float = 0.0) -> bool:
        """Whether it would begin at once; never for one that ended before it was."""
        with self._lock:
            told = self._process.stdout
            assert told is not None
            if not self._ready and not self._ended and select.select([told], [], [], wait_s)[0]:
                self._heard()
            return self._ready

    def is_ready_before(self, is_waited_for: threading.Event) -> bool:
        """Returns whether it is ready when it is, has ended, or somebody waits."""
        while not self.is_ready(LOOK_EVERY_S):
            if self._ended or is_waited_for.is_set():
                return False
        return True

    def seal(self, path: Path, byte_count: int) -> None:
        """Returns when the events of a segment of so many bytes have landed and it is retired. Raises OSError
        as the process met it, SpoolError for what else went wrong there."""
        with self._lock:
            if not self._ready:
                self._heard()
            answer = self._asked(path, byte_count)
        if answer.get("errno"):
            raise OSError(answer["errno"], answer["error"])
        if "error" in answer:
            raise SpoolError("a segment could not be sealed", got=answer["error"], expected=str(path))

    def stop(self) -> None:
        """Returns when the process has ended."""
        with self._lock:
            process = self._process
            if not self._ready:
                # Nothing was asked of it.
                process.kill()
            try:
                # Said, and not left to the pipe's end: a fork of the writer's process may hold it open.
                process.communicate(b"\n", timeout=END_WAIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()

    def _heard(self) -> None:
        """Its first line, which says that it has loaded what it needs; it is told the kinds then."""
        sender, receiver = self._process.stdin, self._process.stdout
        assert sender is not None
        assert receiver is not None
        self._ready = receiver.readline() == READY
        self._ended = not self._ready
        if self._ready:
            # One that has died since is met by the next request.
            with suppress(BrokenPipeError):
                sender.write(schemas_line(arrow_schemas()))

    def _asked(self, path: Path, byte_count: int) -> dict[str, Any]:
        sender, receiver = self._process.stdin, self._process.stdout
        assert sender is not None
        assert receiver is not None
        try:
            # Its name within the spool: what the lake's own folder is called may hold anything.
            sender.write(f"{byte_count} {path.parent.name}/{path.name}\n".encode())
            line = receiver.readline()
        except BrokenPipeError:
            line = b""
        if not line.endswith(b"\n"):
            return {"error": f"its process ended with status {self._process.wait()}"}
        return orjson.loads(line)
