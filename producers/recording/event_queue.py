"""Where recorded events go: one collector for each lake and run of this process.

**An agent never waits for the lake**: events are queued, and a thread makes them durable in their order, a
moment later. `drain` waits for that.
**The queues stay open between rollouts**, because opening a writer reads which events the lake has. The end
of the program, or of the `Lake` object, lands and closes them. What a killed program had made durable lands
when the lake is opened next.
**A forked process has queues of its own**: threads do not survive a fork.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

from tracelake.lake.lake import Lake
from tracelake.lake.writing.collector import Collector
from tracelake.schemas.errors import LakeError, RecordingError, TracelakeError
from tracelake.schemas.events.event import Event
from tracelake.schemas.events.rollout_events import RolloutStarted

Queues = dict[str, "EventQueue"]


class EventQueue:
    """Events of one run on their way to one lake; threads may share it."""

    def __init__(self, lake: Lake, run: str) -> None:
        self.run = run
        self._process_id = os.getpid()
        self._writer = lake.writer(run)
        self._collector = Collector(self._writer)
        self._open_ids: set[str] = set()
        self._lock = threading.Lock()

    def reserve(self, started: RolloutStarted) -> None:
        """Raises RecordingError if the rollout's id is in use, here or in the lake."""
        with self._lock:
            if started.rollout_id in self._open_ids or self._writer.knows_key_of(started):
                raise RecordingError(
                    "a rollout with this id was recorded before",
                    got=started.rollout_id,
                    expected="an id that is new to the lake",
                    cure="Leave out `rollout_id`, and the rollout gets an id of its own.",
                )
            self._open_ids.add(started.rollout_id)

    def release(self, rollout_id: str) -> None:
        with self._lock:
            self._open_ids.discard(rollout_id)

    def put(self, event: Event) -> bool:
        """Returns at once; false if the event is lost, because the lake is too slow or has failed."""
        if os.getpid() != self._process_id:
            raise RecordingError(
                "a rollout was opened before this process was forked",
                got=f"process {os.getpid()}",
                expected=f"process {self._process_id}",
                cure="Open the rollout in the process that records it.",
            )
        return self._collector.put([event])

    def drain(self) -> None:
        """Returns when everything that is queued now is durable. Raises LakeError; later rollouts get
        another queue then."""
        try:
            self._collector.drain()
        except LakeError:
            _forget(self)
            raise

    def close(self) -> None:
        self._collector.close()


_queues: weakref.WeakKeyDictionary[Lake, Queues] = weakref.WeakKeyDictionary()
_lock = threading.Lock()
_log = logging.getLogger("tracelake")


def queue_of(lake: Lake, run: str) -> EventQueue:
    with _lock:
        queues = _queues.get(lake)
        if queues is None:
            queues = _queues[lake] = {}
            # Not at exit: then executors take no more work, and `_close_all` was there before.
            weakref.finalize(lake, _close_in_background, queues, os.getpid()).atexit = False
        if run not in queues:
            queues[run] = EventQueue(lake, run)
        return queues[run]


def close_queues(lake: Lake) -> None:
    """Land what was recorded into this lake, and close its writers; recording again opens new ones."""
    with _lock:
        queues = _queues.get(lake, {})
        closing = list(queues.values())
        queues.clear()
    for queue in closing:
        queue.close()


def _forget(queue: EventQueue) -> None:
    with _lock:
        for queues in _queues.values():
            if queues.get(queue.run) is queue:
                del queues[queue.run]


def _close_in_background(queues: Queues, process_id: int) -> None:
    # A thread of its own: objects end wherever the collection of garbage happens to run.
    if queues and os.getpid() == process_id:
        threading.Thread(target=_close, args=(queues,), name="close-recording").start()


def _close(queues: Queues) -> None:
    for queue in list(queues.values()):
        queue.close()
    queues.clear()


def _close_all() -> None:
    for lake in list(_queues):
        try:
            close_queues(lake)
        except (TracelakeError, OSError) as error:
            # Nobody is left to take the error, and the other lakes are still to be closed.
            _log.error("what was recorded into %s could not be landed: %s", lake.uri, error)


def _forget_all() -> None:
    global _lock
    _lock = threading.Lock()
    _queues.clear()


# Executors stop before the functions of `atexit` run, and landing needs one.
_at_exit: Callable[[Callable[[], None]], Any] = getattr(threading, "_register_atexit", atexit.register)
_at_exit(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
