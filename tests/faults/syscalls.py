"""Every change that a child makes to files under one folder, seen before it happens; a fault in its place.

Flow: a child filters itself with seccomp → each call that changes a file waits for the harness → the harness
lets it go on, fails it with an errno, or kills the child before it or in the middle of a write.

**The count is exact**: calls of all threads in one order, those under the folder only, the interpreter's own
start not among them. Needs Linux 5.9 and no privilege.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import select
import signal
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.faults.children import Child, Say, forked, speaker, whole_lines
from tests.faults.scenario import NotPossibleError

# Name, number on x86_64 and on aarch64 (null: there is none), and where its path or descriptor stands.
_TABLE: tuple[tuple[str, int | None, int | None, str], ...] = (
    ("write", 1, 64, "fd0"),
    ("pwrite64", 18, 68, "fd0"),
    ("writev", 20, 66, "fd0"),
    ("pwritev", 296, 70, "fd0"),
    ("pwritev2", 328, 287, "fd0"),
    ("sendfile", 40, 71, "fd0"),
    ("copy_file_range", 326, 285, "fd2"),
    ("fsync", 74, 82, "fd0"),
    ("fdatasync", 75, 83, "fd0"),
    ("sync_file_range", 277, 84, "fd0"),
    ("ftruncate", 77, 46, "fd0"),
    ("fallocate", 285, 47, "fd0"),
    ("open", 2, None, "path0"),
    ("openat", 257, 56, "path1"),
    ("truncate", 76, 45, "path0"),
    ("rename", 82, None, "path1"),
    ("renameat", 264, 38, "path3"),
    ("renameat2", 316, 276, "path3"),
    ("link", 86, None, "path1"),
    ("linkat", 265, 37, "path3"),
    ("symlink", 88, None, "path1"),
    ("symlinkat", 266, 36, "path2"),
    ("unlink", 87, None, "path0"),
    ("unlinkat", 263, 35, "path1"),
    ("mkdir", 83, None, "path0"),
    ("mkdirat", 258, 34, "path1"),
    ("rmdir", 84, None, "path0"),
)
_ARCHITECTURES = {"x86_64": (1, 0xC000003E, 317), "aarch64": (2, 0xC00000B7, 277)}
_ALLOW, _ASK = 0x7FFF0000, 0x7FC00000
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
_RESPONSE = struct.Struct("=QqiI")
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_GET_DESCRIPTOR = 438
WRITES = ("write", "pwrite64", "pwritev", "pwritev2")
_VECTOR = struct.Struct("=QQ")
"""Where a part of a write lies, and how long it is."""

KILL, TEAR = "kill", "tear"
Verdict = int | str | None
"""Go on (null), fail with this errno, `KILL` before the call, or `TEAR`: write the first half, then kill."""


class Call(NamedTuple):
    """One call that changes a file, not done yet."""

    number: int
    """From 1, over all threads."""
    name: str
    path: str


class Outcome(NamedTuple):
    """What became of a watched child."""

    said: list[str]
    calls: list[Call]
    killed: bool
    exit_code: int


class TooLongError(Exception):
    """A watched child did not end in time."""


def watched(
    work: Callable[[Say], object], folder: Path, decide: Callable[[Call], Verdict], wait_seconds: float = 60.0
) -> Outcome:
    """Runs work in a child; `decide` is asked about each change under the folder."""
    ours, theirs = socket.socketpair()

    def filtered(pipe: int) -> None:
        ours.close()
        listener = _install_filter()
        socket.send_fds(theirs, [b"x"], [listener])
        os.close(listener)
        work(speaker(pipe))

    child = forked(filtered)
    theirs.close()
    _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    ours.close()
    if not descriptors:
        os.close(child.pipe)
        os.waitpid(child.pid, 0)
        raise NotPossibleError("a child could not filter its own system calls: Linux 5.9 or newer is needed")
    supervisor = _Supervisor(child, descriptors[0], str(folder), decide)
    try:
        return supervisor.outcome(time.monotonic() + wait_seconds)
    finally:
        os.close(descriptors[0])


class _Supervisor:
    """Answers one child's calls until it ends."""

    def __init__(self, child: Child, listener: int, folder: str, decide: Callable[[Call], Verdict]) -> None:
        self._child = child
        self._listener = listener
        self._folder = folder
        self._decide = decide
        self._calls: list[Call] = []
        self._killed = False
        column, _, _ = _architecture()
        self._names = {row[column]: (row[0], row[3]) for row in _TABLE if row[column] is not None}

    def outcome(self, deadline: float) -> Outcome:
        said: list[bytes] = []
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        poll.register(self._child.pipe, select.POLLIN)
        speaking = True
        while speaking:
            left = deadline - time.monotonic()
            if left <= 0:
                self._kill()
            for descriptor, event in poll.poll(max(left, 0.1) * 1000):
                if descriptor == self._listener:
                    if event & select.POLLIN:
                        self._answer()
                    else:
                        poll.unregister(self._listener)
                elif data := os.read(self._child.pipe, 2**16):
                    said.append(data)
                else:
                    speaking = False
        os.close(self._child.pipe)
        _, status = os.waitpid(self._child.pid, 0)
        if left <= 0:
            raise TooLongError(f"a child was still at work; its last calls: {self._calls[-3:]}")
        return Outcome(whole_lines(b"".join(said)), self._calls, self._killed, status)

    def _kill(self) -> None:
        self._killed = True
        os.kill(self._child.pid, signal.SIGKILL)

    def _answer(self) -> None:
        buffer = bytearray(_NOTIFICATION.size)
        try:
            fcntl.ioctl(self._listener, _RECEIVE, buffer)
        except OSError:
            # The thread was killed while its call waited.
            return
        request, thread, _, number, _, _, *arguments = _NOTIFICATION.unpack(buffer)
        verdict = None if self._killed else self._verdict(thread, number, arguments)
        if verdict in (KILL, TEAR):
            self._kill()
            return
        errno = verdict if isinstance(verdict, int) else 0
        response = _RESPONSE.pack(request, 0, -errno, 0 if errno else 1)
        try:
            fcntl.ioctl(self._listener, _SEND, bytearray(response))
        except OSError:
            return

    def _verdict(self, thread: int, number: int, arguments: list[int]) -> Verdict:
        name, place = self._names[number]
        path = _path(thread, place, arguments)
        if not (path == self._folder or path.startswith(f"{self._folder}/")):
            return None
        if name.startswith("open") and not _opens_to_write(name, arguments):
            return None
        call = Call(len(self._calls) + 1, name, path)
        self._calls.append(call)
        verdict = self._decide(call)
        if verdict == TEAR and name in WRITES:
            _write_half(self._child.pid, thread, name, arguments)
        return verdict


def _opens_to_write(name: str, arguments: list[int]) -> bool:
    flags = arguments[2 if name == "openat" else 1]
    return bool(flags & (os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_RDWR))


def _path(thread: int, place: str, arguments: list[int]) -> str:
    value = arguments[int(place[-1])]
    try:
        if place.startswith("fd"):
            return os.readlink(f"/proc/{thread}/fd/{ctypes.c_int(value).value}")
        return os.fsdecode(_memory(thread, value, 4096).split(b"\0")[0])
    except OSError:
        return ""


def _memory(thread: int, address: int, size: int) -> bytes:
    with open(f"/proc/{thread}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        # A path near the end of a mapping is read up to the end of its page first.
        first = min(size, 4096 - address % 4096)
        data = memory.read(first)
        while len(data) < size and (size > 4096 or b"\0" not in data):
            more = memory.read(size - len(data))
            if not more:
                break
            data += more
        return data


def _exactly(thread: int, address: int, size: int) -> bytes:
    with open(f"/proc/{thread}/mem", "rb") as memory:
        memory.seek(address)
        return memory.read(size)


def _written(thread: int, name: str, arguments: list[int]) -> bytes:
    """What a call is about to write."""
    if not name.startswith("pwritev"):
        return _exactly(thread, arguments[1], arguments[2])
    table = _exactly(thread, arguments[1], arguments[2] * _VECTOR.size)
    return b"".join(_exactly(thread, *part) for part in _VECTOR.iter_unpack(table))


def _write_half(pid: int, thread: int, name: str, arguments: list[int]) -> None:
    """What a write leaves that was cut off: its first half, by the child's own descriptor."""
    whole = _written(thread, name, arguments)
    data = whole[: len(whole) // 2]
    process = os.pidfd_open(pid)
    descriptor = _libc().syscall(_GET_DESCRIPTOR, process, ctypes.c_int(arguments[0]), 0)
    os.close(process)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
    try:
        if name == "write":
            os.write(descriptor, data)
        else:
            os.pwrite(descriptor, data, arguments[3])
    finally:
        os.close(descriptor)


def _architecture() -> tuple[int, int, int]:
    machine = platform.machine()
    if machine not in _ARCHITECTURES or platform.system() != "Linux":
        raise NotPossibleError(f"system calls are known for Linux on {', '.join(_ARCHITECTURES)}")
    return _ARCHITECTURES[machine]


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _install_filter() -> int:
    """The listener of this thread's and its later threads' filter."""
    column, _, seccomp = _architecture()
    numbers = [number for row in _TABLE if (number := row[column]) is not None]
    code = [struct.pack("=HBBI", 0x20, 0, 0, 0)]
    for index, number in enumerate(numbers):
        code.append(struct.pack("=HBBI", 0x15, len(numbers) - index, 0, number))
    code += [struct.pack("=HBBI", 0x06, 0, 0, _ALLOW), struct.pack("=HBBI", 0x06, 0, 0, _ASK)]
    program = b"".join(code)
    held = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("=H6xQ", len(code), ctypes.addressof(held))
    libc = _libc()
    # PR_SET_NO_NEW_PRIVS: without it only root may filter.
    libc.prctl(38, 1, 0, 0, 0)
    # SECCOMP_SET_MODE_FILTER with SECCOMP_FILTER_FLAG_NEW_LISTENER.
    listener = libc.syscall(seccomp, 1, 8, ctypes.create_string_buffer(header, len(header)))
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return listener
