"""A process that forks workers on demand for a process that may not fork any more.

It never opens a lake itself. Each worker appends, says that it has, and is killed with SIGKILL before it
could close anything.
"""

from __future__ import annotations

import os
import signal
import socket
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.faults.children import forked, whole_lines
from tests.faults.facts_of_model import Fact, event_of
from tracelake.lake import Lake


class Order(NamedTuple):
    """What one worker appends."""

    root: Path
    facts: list[Fact]


class Zygote:
    """Started before its user opens a lake; ended by `close`."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

        def serve(_: int) -> None:
            # Else it would never see that its user is gone.
            self._ours.close()
            _serve(theirs)

        self._child = forked(serve)
        theirs.close()

    def append_and_die(self, order: Order) -> bool:
        """Whether the worker was told that its events are durable."""
        facts = ";".join(f"{fact.index},{fact.score}" for fact in order.facts)
        self._ours.send(f"{order.root}\n{facts}".encode())
        return self._ours.recv(100) == b"acknowledged"

    def close(self) -> None:
        self._ours.close()
        os.close(self._child.pipe)
        os.waitpid(self._child.pid, 0)


def _serve(orders: socket.socket) -> None:
    while message := orders.recv(2**16):
        root, facts = message.decode().split("\n")
        parsed = [
            Fact(int(index), float(score)) for index, score in (fact.split(",") for fact in facts.split(";"))
        ]
        worker = forked(partial(_append, Path(root), parsed))
        said = b""
        while data := os.read(worker.pipe, 2**16):
            said += data
        os.close(worker.pipe)
        os.waitpid(worker.pid, 0)
        orders.send(b"acknowledged" if whole_lines(said) == ["acknowledged"] else b"failed")


def _append(root: Path, facts: list[Fact], pipe: int) -> None:
    writer = Lake.open(str(root)).writer("killed")
    writer.append([event_of(fact) for fact in facts])
    os.write(pipe, b"acknowledged\n")
    os.kill(os.getpid(), signal.SIGKILL)
