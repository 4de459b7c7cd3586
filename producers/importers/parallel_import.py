"""A part of an import in a second process: reading foreign JSON keeps one core busy, and the lake takes any
number of writers.

Flow: both processes take files from one queue until it is empty → the second tells the first what came of its
files.

**A fork, and only where it is safe**: on Linux, from a process of one thread, for many local files. Elsewhere
everything is read in this process, with the same result.
**Each process lands through a writer of its own.** A fact that both were told lands twice and is projected
once.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import NamedTuple

from tracelake.producers.importers.finding import Found
from tracelake.producers.importers.report import FileTally, Landed
from tracelake.producers.importers.source import HandedIn
from tracelake.producers.importers.verdicts import Verdict
from tracelake.schemas.errors import LakeError, TracelakeError

FILES_MIN = 16
HASH_DIGITS = 64


class Told(NamedTuple):
    """Key hashes and event ids, hexadecimal, of what a process was the first to tell, each joined to one
    text: twenty thousand take far longer from one process to another."""

    key_hashes: str
    event_ids: str

    @classmethod
    def of(cls, told: dict[str, str]) -> Told:
        return cls("".join(told), "".join(told.values()))

    def known_to(self, other: dict[str, str]) -> list[bool]:
        """For each key that another process was told as well: whether it was the same fact."""
        return [
            other[key] == self.event_ids[start : start + HASH_DIGITS]
            for start in range(0, len(self.key_hashes), HASH_DIGITS)
            if (key := self.key_hashes[start : start + HASH_DIGITS]) in other
        ]


class Part(NamedTuple):
    """What came of some of an import's files."""

    tallies: dict[str, FileTally]
    skipped: dict[str, str]
    handed_in: dict[str, tuple[HandedIn, str]]
    """By rollout; with the address of its file."""
    verdicts: list[Verdict]
    landed: Landed
    siblings_used: set[str]
    told: Told
    rollout_count: int


def is_worth_sharing(files: list[Found]) -> bool:
    """Whether a second process is safe, and the work enough for one."""
    local = all(file.filesystem.protocol in ("file", ("file", "local")) for file in files)
    safe = sys.platform == "linux" and threading.active_count() == 1 and (os.cpu_count() or 1) > 1
    return local and safe and len(files) >= FILES_MIN


class FileQueue:
    """Hands out each file once, to whichever process asks first, the largest first."""

    def __init__(self, files: list[Found]) -> None:
        self._files = sorted(files, key=_size_bytes, reverse=True)
        self._taken = get_context("fork").Value("q", 0)

    def __iter__(self) -> Iterator[Found]:
        while (place := self._next()) < len(self._files):
            yield self._files[place]

    def taken_count(self) -> int:
        return min(self._taken.value, len(self._files))

    def _next(self) -> int:
        with self._taken.get_lock():
            place = self._taken.value
            self._taken.value = place + 1
        return place


def _size_bytes(file: Found) -> int:
    try:
        return os.path.getsize(file.path)
    except OSError:
        # Reading it will tell what is wrong with it.
        return 0


class Beside:
    """Runs `work` in a forked process while the block runs; a context manager. Without work there is no
    process.
    """

    def __init__(self, work: Callable[[], Part] | None) -> None:
        self._work = work
        self._process: BaseProcess | None = None
        self._answer: Connection | None = None

    def __enter__(self) -> Beside:
        if self._work is not None:
            context = get_context("fork")
            self._answer, sender = context.Pipe(duplex=False)
            process = context.Process(target=_answer, args=(self._work, sender), daemon=True)
            process.start()
            self._process = process
            sender.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            if error is not None:
                self._process.terminate()
            self._process.join()

    def result(self) -> list[Part]:
        """Waits for the other process. Raises what it raised, LakeError if it died."""
        if self._answer is None:
            return []
        try:
            found = self._answer.recv()
        except EOFError as error:
            cure = "What was acknowledged has landed; import again for the rest."
            raise LakeError("the process that read some of the files has died", cure=cure) from error
        if isinstance(found, Part):
            return [found]
        raise found


def _answer(work: Callable[[], Part], sender: Connection) -> None:
    try:
        sender.send(work())
    except (TracelakeError, OSError) as error:
        sender.send(error)
    finally:
        sender.close()
