"""Intercepts every change that a child makes to files under one folder, and injects faults.

Flow: a child installs a seccomp filter → each system call that changes a file waits for the harness → the
harness lets it pass, fails it with an errno, or kills the child before it or in the middle of a write.

**The count is exact**: calls of all threads in one order, only those under the folder, without the start of
the interpreter. Needs Linux 5.9 and no privilege.
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

from tests.faults.children import Child, Emit, complete_lines, emitter, fork_child
from tests.faults.scenario import NotPossibleError

# Name, number on x86_64 and on aarch64 (None: no such call), and the argument with its path or descriptor.
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
"""Address and length of one buffer of a vectored write."""

KILL, TEAR = "kill", "tear"
Decision = int | str | None
"""Null: let it pass. A number: fail with this errno. `KILL`: kill first. `TEAR`: write half, then kill."""


class Call(NamedTuple):
    """A pending system call that changes a file."""

    number: int
    """From 1, over all threads."""
    name: str
    path: str


class WatchedRun(NamedTuple):
    """The output, calls and end of a watched child."""

    lines: list[str]
    calls: list[Call]
    killed: bool
    exit_code: int


class TooLongError(Exception):
    """A watched child exceeded its time limit."""


def watched(
    work: Callable[[Emit], object],
    folder: Path,
    decide: Callable[[Call], Decision],
    wait_seconds: float = 60.0,
) -> WatchedRun:
    """Run work in a child; `decide` is called before each change under the folder."""
    ours, theirs = socket.socketpair()

    def filtered(pipe: int) -> None:
        ours.close()
        listener = _install_filter()
        socket.send_fds(theirs, [b"x"], [listener])
        os.close(listener)
        work(emitter(pipe))

    child = fork_child(filtered)
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
    """Decides about one child's system calls until it ends."""

    def __init__(self, child: Child, listener: int, folder: str, decide: Callable[[Call], Decision]) -> None:
        self._child = child
        self._listener = listener
        self._folder = folder
        self._decide = decide
        self._calls: list[Call] = []
        self._killed = False
        column, _, _ = _architecture()
        self._names = {row[column]: (row[0], row[3]) for row in _TABLE if row[column] is not None}

    def outcome(self, deadline: float) -> WatchedRun:
        output: list[bytes] = []
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        poll.register(self._child.pipe, select.POLLIN)
        is_open = True
        while is_open:
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
                    output.append(data)
                else:
                    is_open = False
        os.close(self._child.pipe)
        _, status = os.waitpid(self._child.pid, 0)
        if left <= 0:
            raise TooLongError(f"a child was still running; its last calls: {self._calls[-3:]}")
        return WatchedRun(complete_lines(b"".join(output)), self._calls, self._killed, status)

    def _kill(self) -> None:
        self._killed = True
        os.kill(self._child.pid, signal.SIGKILL)

    def _answer(self) -> None:
        buffer = bytearray(_NOTIFICATION.size)
        try:
            fcntl.ioctl(self._listener, _RECEIVE, buffer)
        except OSError:
            # The thread was killed while its call was waiting.
            return
        request, thread, _, number, _, _, *arguments = _NOTIFICATION.unpack(buffer)
        decision = None if self._killed else self._decision(thread, number, arguments)
        if decision in (KILL, TEAR):
            self._kill()
            return
        errno = decision if isinstance(decision, int) else 0
        response = _RESPONSE.pack(request, 0, -errno, 0 if errno else 1)
        try:
            fcntl.ioctl(self._listener, _SEND, bytearray(response))
        except OSError:
            return

    def _decision(self, thread: int, number: int, arguments: list[int]) -> Decision:
        name, argument = self._names[number]
        path = _path(thread, argument, arguments)
        if not (path == self._folder or path.startswith(f"{self._folder}/")):
            return None
        if name.startswith("open") and not _opens_to_write(name, arguments):
            return None
        call = Call(len(self._calls) + 1, name, path)
        self._calls.append(call)
        decision = self._decide(call)
        if decision == TEAR and name in WRITES:
            _write_half(self._child.pid, thread, name, arguments)
        return decision


def _opens_to_write(name: str, arguments: list[int]) -> bool:
    flags = arguments[2 if name == "openat" else 1]
    return bool(flags & (os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_RDWR))


def _path(thread: int, argument: str, arguments: list[int]) -> str:
    value = arguments[int(argument[-1])]
    try:
        if argument.startswith("fd"):
            return os.readlink(f"/proc/{thread}/fd/{ctypes.c_int(value).value}")
        return os.fsdecode(_read_mapped(thread, value, 4096).split(b"\0")[0])
    except OSError:
        return ""


def _read_mapped(thread: int, address: int, size: int) -> bytes:
    with open(f"/proc/{thread}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        # Reads up to the end of the page first: the next page may not be mapped.
        first = min(size, 4096 - address % 4096)
        data = memory.read(first)
        while len(data) < size and (size > 4096 or b"\0" not in data):
            more = memory.read(size - len(data))
            if not more:
                break
            data += more
        return data


def _read_memory(thread: int, address: int, size: int) -> bytes:
    with open(f"/proc/{thread}/mem", "rb") as memory:
        memory.seek(address)
        return memory.read(size)


def _written(thread: int, name: str, arguments: list[int]) -> bytes:
    """The bytes that a call is about to write."""
    if not name.startswith("pwritev"):
        return _read_memory(thread, arguments[1], arguments[2])
    table = _read_memory(thread, arguments[1], arguments[2] * _VECTOR.size)
    return b"".join(_read_memory(thread, *entry) for entry in _VECTOR.iter_unpack(table))


def _write_half(pid: int, thread: int, name: str, arguments: list[int]) -> None:
    """Write the first half of a pending write through the child's descriptor."""
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
        raise NotPossibleError(f"the system calls are known for Linux on {', '.join(_ARCHITECTURES)} only")
    return _ARCHITECTURES[machine]


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _install_filter() -> int:
    """Filter this thread and the threads that it starts; returns the descriptor of the listener."""
    column, _, seccomp = _architecture()
    numbers = [number for row in _TABLE if (number := row[column]) is not None]
    code = [struct.pack("=HBBI", 0x20, 0, 0, 0)]
    for index, number in enumerate(numbers):
        code.append(struct.pack("=HBBI", 0x15, len(numbers) - index, 0, number))
    code += [struct.pack("=HBBI", 0x06, 0, 0, _ALLOW), struct.pack("=HBBI", 0x06, 0, 0, _ASK)]
    program = b"".join(code)
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("=H6xQ", len(code), ctypes.addressof(buffer))
    libc = _libc()
    # PR_SET_NO_NEW_PRIVS: without it only root may install a filter.
    libc.prctl(38, 1, 0, 0, 0)
    # SECCOMP_SET_MODE_FILTER with SECCOMP_FILTER_FLAG_NEW_LISTENER.
    listener = libc.syscall(seccomp, 1, 8, ctypes.create_string_buffer(header, len(header)))
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return listener
