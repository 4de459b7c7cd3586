"""A second process for an import: parsing foreign JSON takes all of one core, and a lake accepts any number
of writers.

Flow: `FileQueue` hands each file to whichever process asks first → both import until it is empty →
`ForkedWorker` returns the result of the second process to the first.

**A fork, and only where it is safe**: on Linux, from a process with one thread, for many local files.
Elsewhere one process imports everything, with the same result.
**Each process has its own writer.** A fact that both processes landed is projected once; `NewFactIds` finds
such facts, so that the report counts them once too.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import accumulate
from multiprocessing import get_all_start_methods, get_context
from types import TracebackType
from typing import Any, Generic, NamedTuple, TypeVar

from tracelake.producers.importers.find_files import FoundFile
from tracelake.schemas.errors import LakeError, TracelakeError

FILES_MIN = 16
HASH_DIGITS = 64

Result = TypeVar("Result")


def is_worth_forking(files: list[FoundFile]) -> bool:
    """Whether a second process is safe, and the files are enough to pay for it."""
    safe = sys.platform == "linux" and threading.active_count() == 1 and (os.cpu_count() or 1) > 1
    return safe and len(files) >= FILES_MIN and all(file.is_local for file in files)


class FileQueue:
    """Hands out each file once, the largest first, to this process and to those forked from it."""

    def __init__(self, files: list[FoundFile], *, in_order: bool = False) -> None:
        """`in_order` keeps the order of the files, where only one process reads them."""
        sized = [(_known_size_bytes(file), file) for file in files]
        if not in_order:
            sized.sort(key=lambda each: each[0], reverse=True)
        self._files = [file for _, file in sized]
        self._bytes_before = list(accumulate((size for size, _ in sized), initial=0))
        self._size_by_uri = {file.uri: size for size, file in sized}
        self._next_index: Any = _shared_integer()
        self._stopped: Any = _shared_integer()

    def __iter__(self) -> Iterator[FoundFile]:
        while True:
            with self._next_index.get_lock():
                index = self._next_index.value
                self._next_index.value = index + 1
            if index >= len(self._files) or self.is_stopped:
                return
            yield self._files[index]

    @property
    def file_count(self) -> int:
        return len(self._files)

    @property
    def total_bytes(self) -> int:
        """Of the files whose size is known."""
        return self._bytes_before[-1]

    def taken(self) -> tuple[int, int]:
        """Number and bytes of the files that were handed out."""
        count = min(self._next_index.value, len(self._files))
        return count, self._bytes_before[count]

    def size_of(self, file: FoundFile) -> int:
        return self._size_by_uri.get(file.uri, 0)

    @property
    def is_stopped(self) -> bool:
        return bool(self._stopped.value)

    def stop(self) -> None:
        """Hand out no more files, to any process."""
        self._stopped.value = 1


def _shared_integer() -> Any:
    """One that a forked process shares."""
    return get_context("fork" if "fork" in get_all_start_methods() else None).Value("q", 0)


def _known_size_bytes(file: FoundFile) -> int:
    try:
        return file.size_bytes() or 0
    except (OSError, ValueError):
        # Reading the file will report the error.
        return 0


class ForkedWorker(Generic[Result]):
    """Runs `work` in a forked process during the `with` block; an error in the block stops the process."""

    def __init__(self, work: Callable[[], Result]) -> None:
        context = get_context("fork")
        self._receiver, sender = context.Pipe(duplex=False)

        def work_and_send() -> None:
            try:
                sender.send(work())
            except (TracelakeError, OSError) as error:
                sender.send(error)
            finally:
                sender.close()

        self._process = context.Process(target=work_and_send, daemon=True)
        self._sender = sender

    def __enter__(self) -> ForkedWorker[Result]:
        self._process.start()
        # Only the worker's copy stays open: when the worker ends, `result` sees the end of the pipe.
        self._sender.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._process.terminate()
        self._process.join()

    def result(self) -> Result:
        """Waits for the worker. Raises its error, or LakeError if it died."""
        try:
            received = self._receiver.recv()
        except EOFError as error:
            cure = "Import again: what has landed stays, and the rest is added."
            raise LakeError("the process that read some of the files has died", cure=cure) from error
        if isinstance(received, BaseException):
            raise received
        return received


class NewFactIds(NamedTuple):
    """Key hashes and event ids of the facts that a process was the first to write, as hexadecimal digits
    joined to one text each: to send twenty thousand small texts between processes takes far longer."""

    key_hashes: str
    event_ids: str

    @classmethod
    def of(cls, event_id_by_key: dict[str, str]) -> NewFactIds:
        return cls("".join(event_id_by_key), "".join(event_id_by_key.values()))

    def shared_with(self, event_id_by_key: dict[str, str]) -> SharedFacts:
        """Facts that another process wrote too."""
        same_count = other_count = 0
        for start in range(0, len(self.key_hashes), HASH_DIGITS):
            event_id = event_id_by_key.get(self.key_hashes[start : start + HASH_DIGITS])
            if event_id is None:
                continue
            if event_id == self.event_ids[start : start + HASH_DIGITS]:
                same_count += 1
            else:
                other_count += 1
        return SharedFacts(same_count, other_count)


class SharedFacts(NamedTuple):
    """Keys under which two processes each wrote a fact, counted by whether it was the same fact."""

    duplicate_count: int
    conflict_count: int
