"""Forked children of the harness, which imports everything once and never opens a lake itself.

**Every access to a lake runs in a child.** A child is a fork and starts no interpreter. It starts Lance's
threads for itself: a process with these threads can no longer be forked.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import pickle
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

Result = TypeVar("Result")
Emit = Callable[[str], None]
"""Sends one line to the harness immediately."""

WAIT_SECONDS = 120.0
PRELOADED_MODULES = (
    "lance",
    "lancedb",
    "polars",
    "tracelake.lake.lake",
    "tracelake.lake.audits.audit",
    "tracelake.lake.pins.pins",
    "tracelake.lake.projection.project",
)


class ChildError(Exception):
    """A child raised, died, or sent nothing within the time limit."""


class Child(NamedTuple):
    """A running child and the pipe that it writes to."""

    pid: int
    pipe: int


def import_dependencies() -> None:
    """Import everything that children need, so that no child has to."""
    for name in PRELOADED_MODULES:
        importlib.import_module(name)
    # The lake warns of damage, and the harness damages lakes on purpose.
    logging.getLogger("tracelake").setLevel(logging.ERROR)
    # Both warn of a fork while their threads run. The harness forks before any thread starts.
    warnings.filterwarnings("ignore", message="lance is not fork-safe")
    warnings.filterwarnings("ignore", message="lancedb fork support")
    # Hundreds of thousands of permanent objects, which no garbage collection has to visit again.
    gc.collect()
    gc.freeze()


def fork_child(work: Callable[[int], None]) -> Child:
    """Run `work(pipe)` in a child, which ends with it."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        os.close(writing)
        return Child(pid, reading)
    code = 1
    try:
        os.close(reading)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        work(writing)
        code = 0
    except BaseException:  # noqa: BLE001 - the child ends here in any case
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def start_child(work: Callable[..., Result], *arguments: Any) -> Child:
    """A child whose `result_of` is the return value of the work."""

    def send(pipe: int) -> None:
        try:
            result = (True, work(*arguments))
        except Exception as error:  # noqa: BLE001 - the parent raises it
            known = error if _survives_pickle(error) else None
            result = (False, known or "".join(traceback.format_exception(error)))
        _write_all(pipe, pickle.dumps(result))

    return fork_child(send)


def result_of(child: Child, wait_seconds: float = WAIT_SECONDS) -> Any:
    """Raises the exception of the work, and ChildError if the child died or took too long."""
    data = _read_all(child, time.monotonic() + wait_seconds)
    _, status = os.waitpid(child.pid, 0)
    if not data:
        raise ChildError(f"a child ended without a result, status {status}")
    succeeded, value = pickle.loads(data)  # noqa: S301 - from our own child
    if succeeded:
        return value
    raise value if isinstance(value, Exception) else ChildError(value)


def in_child(work: Callable[..., Result], *arguments: Any, wait_seconds: float = WAIT_SECONDS) -> Result:
    return result_of(start_child(work, *arguments), wait_seconds)


def side_by_side(work: Callable[..., Result], each: Sequence[tuple[Any, ...]]) -> list[Result]:
    """One child per tuple of arguments, all at once. Raises the first error after all children have ended."""
    children = [start_child(work, *arguments) for arguments in each]
    results: list[Result] = []
    errors: list[Exception] = []
    for child in children:
        try:
            results.append(result_of(child, 24 * 3600))
        except Exception as error:  # noqa: BLE001 - raised once the others have ended
            errors.append(error)
    if errors:
        raise errors[0]
    return results


def read_until(child: Child, word: str) -> bytes:
    """Output of a child up to a line that begins with the word; an empty word reads nothing."""
    data = b""
    deadline = time.monotonic() + WAIT_SECONDS
    while word and f"\n{word} ".encode() not in b"\n" + data:
        left = deadline - time.monotonic()
        chunk = os.read(child.pipe, 2**16) if select.select([child.pipe], [], [], max(left, 0.0))[0] else b""
        if not chunk:
            break
        data += chunk
    return data


def kill_and_read(child: Child) -> bytes:
    """Kill a child and return its output that nobody has read yet."""
    os.kill(child.pid, signal.SIGKILL)
    data = _read_all(child, time.monotonic() + WAIT_SECONDS)
    os.waitpid(child.pid, 0)
    return data


def complete_lines(data: bytes) -> list[str]:
    """Lines of a child's output; an incomplete last line does not count."""
    return data.decode().split("\n")[:-1]


def emitter(pipe: int) -> Emit:
    return lambda line: _write_all(pipe, f"{line}\n".encode())


def _survives_pickle(error: Exception) -> bool:
    try:
        return isinstance(pickle.loads(pickle.dumps(error)), type(error))  # noqa: S301 - our own bytes
    except Exception:  # noqa: BLE001 - any failure means that it does not
        return False


def _write_all(pipe: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(pipe, view) :]


def _read_all(child: Child, deadline: float) -> bytes:
    chunks: list[bytes] = []
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([child.pipe], [], [], left)[0]:
            os.kill(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)
            os.close(child.pipe)
            raise ChildError(f"a child took too long; its last output: {b''.join(chunks)[-200:]!r}")
        data = os.read(child.pipe, 2**16)
        if not data:
            os.close(child.pipe)
            return b"".join(chunks)
        chunks.append(data)
