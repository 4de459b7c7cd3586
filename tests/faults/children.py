"""Forked children: the harness imports everything once and never opens a lake itself.

**A child is cheap** (a fork, no interpreter start) and starts Lance's threads for itself: a process that has
them can't be forked any more, so whatever touches a lake runs in a child.
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
Say = Callable[[str], None]
"""Tells the harness one line, at once."""

WAIT_SECONDS = 120.0
NEEDED = (
    "tracelake.lake.lake",
    "tracelake.lake.audits.audit",
    "tracelake.lake.pins.pins",
    "tracelake.lake.projection.project",
)


class ChildError(Exception):
    """The child raised, died or said nothing in time."""


class Child(NamedTuple):
    """A running child and the pipe on which it speaks."""

    pid: int
    pipe: int


def imported() -> None:
    """Everything that children will need, so that none of them imports it again."""
    for name in ("lance", "lancedb", "polars", *NEEDED):
        importlib.import_module(name)
    # The lake warns of what it met; here it meets what it is given.
    logging.getLogger("tracelake").setLevel(logging.ERROR)
    # Neither may be forked once it runs; they are forked before.
    warnings.filterwarnings("ignore", message="lance is not fork-safe")
    warnings.filterwarnings("ignore", message="lancedb fork support")
    # Hundreds of thousands of objects that stay: no collection needs to look at them again.
    gc.collect()
    gc.freeze()


def forked(work: Callable[[int], None]) -> Child:
    """Runs `work(pipe)` in a child that ends with it."""
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
    except BaseException:  # noqa: BLE001 - the child is about to end, whatever it was
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def started(work: Callable[..., Result], *arguments: Any) -> Child:
    """A child whose `answer` is what the work returns."""

    def send(pipe: int) -> None:
        try:
            answer = (True, work(*arguments))
        except Exception as error:  # noqa: BLE001 - it is told to the parent
            known = error if _survives_pickle(error) else None
            answer = (False, known or "".join(traceback.format_exception(error)))
        _write_all(pipe, pickle.dumps(answer))

    return forked(send)


def answer(child: Child, wait_seconds: float = WAIT_SECONDS) -> Any:
    """Raises what the work raised, and ChildError if the child died or took too long."""
    data = _read_all(child, time.monotonic() + wait_seconds)
    _, status = os.waitpid(child.pid, 0)
    if not data:
        raise ChildError(f"a child ended without an answer, status {status}")
    sound, value = pickle.loads(data)  # noqa: S301 - from our own child
    if sound:
        return value
    raise value if isinstance(value, Exception) else ChildError(value)


def in_child(work: Callable[..., Result], *arguments: Any, wait_seconds: float = WAIT_SECONDS) -> Result:
    return answer(started(work, *arguments), wait_seconds)


def side_by_side(work: Callable[..., Result], each: Sequence[tuple[Any, ...]]) -> list[Result]:
    """One child per tuple of arguments, all at once; raises what the first of them raised."""
    children = [started(work, *arguments) for arguments in each]
    answers: list[Result] = []
    errors: list[Exception] = []
    for child in children:
        try:
            answers.append(answer(child, 24 * 3600))
        except Exception as error:  # noqa: BLE001 - the others are waited for first
            errors.append(error)
    if errors:
        raise errors[0]
    return answers


def heard(child: Child, word: str) -> bytes:
    """What a child says up to a line that begins with the word; nothing is waited for where it is empty."""
    data = b""
    deadline = time.monotonic() + WAIT_SECONDS
    while word and f"\n{word} ".encode() not in b"\n" + data:
        left = deadline - time.monotonic()
        part = os.read(child.pipe, 2**16) if select.select([child.pipe], [], [], max(left, 0.0))[0] else b""
        if not part:
            break
        data += part
    return data


def ended(child: Child) -> bytes:
    """Kills a child and gives what it said and what was not read yet."""
    os.kill(child.pid, signal.SIGKILL)
    data = _read_all(child, time.monotonic() + WAIT_SECONDS)
    os.waitpid(child.pid, 0)
    return data


def whole_lines(data: bytes) -> list[str]:
    """A line that was cut was not said."""
    return data.decode().split("\n")[:-1]


def speaker(pipe: int) -> Say:
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
    parts: list[bytes] = []
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([child.pipe], [], [], left)[0]:
            os.kill(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)
            os.close(child.pipe)
            raise ChildError(f"a child took too long; it had said {b''.join(parts)[-200:]!r}")
        data = os.read(child.pipe, 2**16)
        if not data:
            os.close(child.pipe)
            return b"".join(parts)
        parts.append(data)
