"""The launches of an experiment, several at a time, each in a process of its own.

Flow: what the lake has already is found here → the rest is handed out, launch by launch → ticks and outcomes
come back.

**How many run at once changes nothing but the time**: a process takes one launch after the other, with as
many threads as this one has. One at a time runs here.
**An interrupt ends each launch after the update that it is in**, and nothing else is begun.
**A process ends with the one that started it**, however that ended: what it had begun goes on from its last
checkpoint when it is launched again.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from tracelake.cli.experiments import OpenExperiment, checkpoint_of
from tracelake.cli.worlds import world_of
from tracelake.consumers.evaluate import Evaluated, evaluate_checkpoint, found_evaluation
from tracelake.consumers.launches.launch import Launch, Trained, found_training, train_arm
from tracelake.consumers.torch_process import core_count, settle_libraries
from tracelake.lake import Lake
from tracelake.schemas.errors import TrainingError
from tracelake.schemas.experiments.experiment import Experiment
from tracelake.schemas.experiments.lock import Lock

LOOK_EVERY_S = 0.2
MEMORY = "memory://"

Tick = Callable[[int], None]
"""Told how much more is done."""
Outcome = TypeVar("Outcome", Trained, Evaluated)
Work = Callable[[OpenExperiment, Launch, Tick], Outcome]


def at_once_by_default() -> int:
    """One on a GPU; otherwise as many as there are cores for this process's number of threads."""
    import torch

    settle_libraries()
    return 1 if torch.cuda.is_available() else max(1, core_count() // torch.get_num_threads())


def train_all(workers: Workers, launches: Sequence[Launch], tick: Tick = lambda _: None) -> list[Trained]:
    """In the order of the launches; ticks are updates. Raises PinChangedError, TrainingError."""
    opened = workers.opened
    found = [found_training(opened.lake, launch) for launch in launches]
    tick(opened.experiment.training.train_steps * sum(each is not None for each in found))
    return workers.complete(_train, launches, found, tick)


def evaluate_all(
    workers: Workers, launches: Sequence[Launch], tick: Tick = lambda _: None
) -> list[Evaluated]:
    """In the order of the launches; ticks are tasks. Raises TrainingError for an arm that has not been
    trained."""
    opened = workers.opened
    spec, checkpoints = opened.experiment, [checkpoint_of(opened, launch) for launch in launches]
    found = [
        found_evaluation(opened.lake, spec, checkpoint, launch.world)
        for checkpoint, launch in zip(checkpoints, launches, strict=True)
    ]
    tick(spec.evaluation.attempt_count * sum(each is not None for each in found))
    return workers.complete(_evaluate, launches, found, tick)


def _train(opened: OpenExperiment, launch: Launch, tick: Tick) -> Trained:
    return train_arm(opened.lake, launch, lambda: tick(1))


def _evaluate(opened: OpenExperiment, launch: Launch, tick: Tick) -> Evaluated:
    checkpoint = checkpoint_of(opened, launch)
    return evaluate_checkpoint(opened.lake, opened.experiment, checkpoint, launch.world, tick)


class Workers:
    """A context manager. Processes start with the first launch that is left to do."""

    def __init__(self, opened: OpenExperiment, at_once: int) -> None:
        self.opened = opened
        # No other process sees what lies in this one's memory.
        self._at_once = 1 if opened.lake.uri.startswith(MEMORY) else at_once
        self._pool: ProcessPoolExecutor | None = None
        self._context = multiprocessing.get_context("spawn")
        # Written to before an outcome is: with the last outcome all ticks are here.
        self._ticks = self._context.SimpleQueue()
        # A pool hands out one launch more than it has processes, and cannot take that one back.
        self._over = self._context.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is None:
            return
        self._over.set()
        if kind is KeyboardInterrupt:
            # Not every interrupt comes from a terminal, which tells all processes.
            for process in multiprocessing.active_children():
                os.kill(process.pid or 0, signal.SIGINT)
        self._pool.shutdown(cancel_futures=True)

    def complete(
        self, work: Work[Outcome], launches: Sequence[Launch], found: Sequence[Outcome | None], tick: Tick
    ) -> list[Outcome]:
        """What was found, and what comes of the work on the other launches."""
        left = [launch for launch, known in zip(launches, found, strict=True) if known is None]
        if min(self._at_once, len(left)) <= 1:
            made = [work(self.opened, launch, tick) for launch in left]
        else:
            made = self._in_processes(work, left, tick)
        rest = iter(made)
        return [next(rest) if known is None else known for known in found]

    def _in_processes(self, work: Work[Outcome], launches: list[Launch], tick: Tick) -> list[Outcome]:
        """The first error is raised; what runs beside it comes to its end, and nothing else is begun."""
        pool = self._pool = self._pool or self._started()
        futures = [pool.submit(_work_on, work, launch.arm, launch.seed) for launch in launches]
        running: set[Future[Outcome]] = set(futures)
        while running:
            done, running = wait(running, LOOK_EVERY_S, FIRST_EXCEPTION)
            for count in self._told():
                tick(count)
            for each in done:
                self._refuse_failed(each)
        return [each.result() for each in futures]

    def _refuse_failed(self, done: Future[Any]) -> None:
        if (error := done.exception()) is None:
            return
        self._over.set()
        if isinstance(error, BrokenProcessPool):
            raise TrainingError(
                "a process that carried out a launch has died",
                got=str(error),
                cure="Run it again, with a smaller --at-once if memory is short: it goes on from its last "
                "checkpoint.",
            ) from error
        raise error

    def _told(self) -> Iterator[int]:
        while not self._ticks.empty():
            yield self._ticks.get()

    def _started(self) -> ProcessPoolExecutor:
        opened = self.opened
        given = _Given(opened.experiment, opened.lake.uri, opened.runs, opened.lock)
        return ProcessPoolExecutor(self._at_once, self._context, _begin, (given, self._ticks, self._over))


class _Given(NamedTuple):
    """What a process opens the experiment with."""

    experiment: Experiment
    lake_uri: str
    runs: Path
    lock: Lock


_given: _Given
_ticks: Any
_over: Any
_interrupted = threading.Event()


def _begin(given: _Given, ticks: Any, over: Any) -> None:
    """In a process of its own."""
    global _given, _ticks, _over
    signal.signal(signal.SIGINT, lambda *_: _interrupted.set())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _given, _ticks, _over = given, ticks, over


@functools.cache
def _opened() -> OpenExperiment:
    settle_libraries()
    lake, experiment = Lake.open(_given.lake_uri), _given.experiment
    return OpenExperiment(experiment, lake, _given.runs, _given.lock, world_of(lake, experiment))


def _work_on(work: Work[Outcome], arm: str, seed: int) -> Outcome:
    if _over.is_set():
        raise TrainingError("this launch was not begun", cure="Run it again.")
    opened = _opened()
    [launch] = opened.launches(arm, seed)
    return work(opened, launch, _tick)


def _tick(count: int) -> None:
    _ticks.put(count)
    # Between two updates nothing is half told to the lake, as it may be where a signal arrives.
    if _interrupted.is_set():
        raise KeyboardInterrupt


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    # Nobody is left to take the outcome; events that were acknowledged are durable.
    os._exit(1)
