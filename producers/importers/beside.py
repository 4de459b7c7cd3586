"""Half of an import in a second process: reading foreign JSON keeps one core busy, and the lake takes any
number of writers.

**A fork, and only where it is safe**: on Linux, from a process of one thread, for many local files. Elsewhere
everything is read in this process, with the same result.
**Each process lands through a writer of its own.** A fact that both were told lands twice and is projected
once.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import NamedTuple

from producers.importers.finding import Found
from producers.importers.report import FileTally, Landed
from producers.importers.source import HandedIn
from producers.importers.verdicts import Verdict
from schemas.errors import LakeError, TracelakeError

FILES_MIN = 16


class Part(NamedTuple):
    """What came of some of an import's files."""

    tallies: dict[str, FileTally]
    skipped: dict[str, str]
    handed_in: dict[str, tuple[HandedIn, str]]
    """By rollout; with the address of its file."""
    verdicts: list[Verdict]
    landed: Landed
    siblings_used: set[str]
    told: dict[str, str]
    """Key hash to event id of what was told first here."""
    rollout_count: int


def halves(files: list[Found]) -> tuple[list[Found], list[Found]]:
    """The files of this process and of the one beside it; none are beside where a fork is not safe or not
    worth it.
    """
    local = all(file.filesystem.protocol in ("file", ("file", "local")) for file in files)
    safe = sys.platform == "linux" and threading.active_count() == 1 and (os.cpu_count() or 1) > 1
    if not (local and safe and len(files) >= FILES_MIN):
        return files, []
    # Down the sizes in the order mine, theirs, theirs, mine: both halves come out about as large.
    ranked = sorted(files, key=_size_bytes, reverse=True)
    mine = {file.uri for index, file in enumerate(ranked) if index % 4 in (0, 3)}
    return [file for file in files if file.uri in mine], [file for file in files if file.uri not in mine]


def _size_bytes(file: Found) -> int:
    try:
        return os.path.getsize(file.path)
    except OSError:
        # Reading it will tell what is wrong with it.
        return 0


class Beside:
    """Runs `work` in a forked process while the block runs; a context manager. Without files there is no
    process.
    """

    def __init__(self, work: Callable[[], Part], files: list[Found]) -> None:
        self._work = work
        self._process: BaseProcess | None = None
        self._answer: Connection | None = None
        self._is_needed = bool(files)

    def __enter__(self) -> Beside:
        if self._is_needed:
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
            raise LakeError("the process that read half of the files has died", cure=cure) from error
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
