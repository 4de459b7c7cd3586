"""The launches of an experiment, several at a time, each in its own process.

Flow: finished launches are found in the lake → worker processes take the rest, one after the other → progress
and results come back.

**The number of processes changes nothing but the time**: each uses as many threads as this process does. With
one at a time, launches run in this process.
**An interrupt ends each launch after the update in progress**, and no further launch starts.
**A worker ends with its parent process**, however that ended: a started launch resumes from its last
checkpoint the next time.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from tracelake.cli.experiments import OpenExperiment
from tracelake.cli.injection import world_of
from tracelake.consumers.evaluate import Checkpoint, EvaluationResult, evaluate_checkpoint, find_evaluation
from tracelake.consumers.launches.launch import (
    Launch,
    TrainingResult,
    find_training,
    train_arm,
    training_id_of,
)
from tracelake.consumers.torch_process import configure_training_libraries, core_count
from tracelake.lake import Lake
from tracelake.schemas.errors import TrainingError
from tracelake.schemas.experiments.experiment import Experiment
from tracelake.schemas.experiments.lock import Lock

POLL_EVERY_S = 0.2
MEMORY = "memory://"

Tick = Callable[[int], None]
"""Called with the number of updates or tasks done since the last call."""
Result = TypeVar("Result", TrainingResult, EvaluationResult)
Work = Callable[[OpenExperiment, Launch, Tick], Result]


def at_once_by_default() -> int:
    """One on a GPU; otherwise the number of cores divided by this process's number of threads."""
    import torch

    configure_training_libraries()
    return 1 if torch.cuda.is_available() else max(1, core_count() // torch.get_num_threads())


def train_all(
    workers: Workers, launches: Sequence[Launch], tick: Tick = lambda _: None
) -> list[TrainingResult]:
    """In the order of the launches; ticks are updates. Raises PinChangedError, TrainingError."""
    opened = workers.opened
    found = [find_training(opened.lake, launch) for launch in launches]
    tick(opened.experiment.training.train_steps * sum(each is not None for each in found))
    return workers.complete(_train, launches, found, tick)


def evaluate_all(
    workers: Workers, launches: Sequence[Launch], tick: Tick = lambda _: None
) -> list[EvaluationResult]:
    """In the order of the launches; ticks are tasks. Raises TrainingError for an arm that has not been
    trained."""
    opened = workers.opened
    checkpoints = [checkpoint_of(launch) for launch in launches]
    found = [
        find_evaluation(opened.lake, opened.experiment, checkpoint, opened.world)
        for checkpoint in checkpoints
    ]
    tick(opened.experiment.evaluation.attempt_count * sum(each is not None for each in found))
    return workers.complete(_evaluate, launches, found, tick)


def checkpoint_of(launch: Launch) -> Checkpoint:
    """Final weights of a launch. Raises TrainingError for an arm that has not been trained."""
    training_id = training_id_of(launch)
    folder = launch.output / training_id
    if not folder.is_dir():
        raise TrainingError(
            "this arm has not been trained", got=training_id, cure="Run `tracelake train` first."
        )
    train_steps = launch.experiment.training.train_steps
    return Checkpoint(training_id, folder, launch.arm, launch.seed, train_steps)


def _train(opened: OpenExperiment, launch: Launch, tick: Tick) -> TrainingResult:
    return train_arm(opened.lake, launch, lambda: tick(1))


def _evaluate(opened: OpenExperiment, launch: Launch, tick: Tick) -> EvaluationResult:
    checkpoint = checkpoint_of(launch)
    return evaluate_checkpoint(
        opened.lake, opened.experiment, checkpoint, launch.world, launch.load_policy, tick
    )


class Workers:
    """Worker processes, as a context manager. They start with the first launch that is not finished."""

    def __init__(self, opened: OpenExperiment, at_once: int) -> None:
        self.opened = opened
        # A lake in this process's memory is invisible to other processes.
        self._at_once = 1 if opened.lake.uri.startswith(MEMORY) else at_once
        self._pool: ProcessPoolExecutor | None = None
        self._context = multiprocessing.get_context("spawn")
        # Workers write ticks before results, so with the last result all ticks are here.
        self._ticks = self._context.SimpleQueue()
        # The pool hands out one launch more than it has processes and cannot take that one back.
        self._stopping = self._context.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is None:
            return
        self._stopping.set()
        if kind is KeyboardInterrupt:
            # A terminal interrupts all processes; other sources interrupt only this one.
            for process in multiprocessing.active_children():
                os.kill(process.pid or 0, signal.SIGINT)
        self._pool.shutdown(cancel_futures=True)

    def complete(
        self, work: Work[Result], launches: Sequence[Launch], found: Sequence[Result | None], tick: Tick
    ) -> list[Result]:
        """The found results, and those of the work on all other launches; in the order of the launches."""
        left = [launch for launch, known in zip(launches, found, strict=True) if known is None]
        if min(self._at_once, len(left)) <= 1:
            new = [work(self.opened, launch, tick) for launch in left]
        else:
            new = self._in_processes(work, left, tick)
        rest = iter(new)
        return [next(rest) if known is None else known for known in found]

    def _in_processes(self, work: Work[Result], launches: list[Launch], tick: Tick) -> list[Result]:
        """Raises the first error; launches already running finish, and no other starts."""
        if self._pool is None:
            opened = self.opened
            spec = _WorkerSpec(opened.experiment, opened.lake.uri, opened.runs, opened.lock)
            self._pool = ProcessPoolExecutor(
                self._at_once, self._context, _start_worker, (spec, self._ticks, self._stopping)
            )
        futures = [self._pool.submit(_run_in_worker, work, launch.arm, launch.seed) for launch in launches]
        running: set[Future[Result]] = set(futures)
        while running:
            done, running = wait(running, POLL_EVERY_S, FIRST_EXCEPTION)
            while not self._ticks.empty():
                tick(self._ticks.get())
            for each in done:
                self._raise_error_of(each)
        return [each.result() for each in futures]

    def _raise_error_of(self, done: Future[Any]) -> None:
        if (error := done.exception()) is None:
            return
        self._stopping.set()
        if isinstance(error, BrokenProcessPool):
            raise TrainingError(
                "a worker process has died",
                got=str(error),
                cure="Run it again, with a smaller --at-once if memory is short: it resumes from its last "
                "checkpoint.",
            ) from error
        raise error


class _WorkerSpec(NamedTuple):
    """What a worker opens the experiment with."""

    experiment: Experiment
    lake_uri: str
    runs: Path
    lock: Lock


# State of a worker process.
_spec: _WorkerSpec
_ticks: Any
_stopping: Any
_interrupted = threading.Event()


def _start_worker(spec: _WorkerSpec, ticks: Any, stopping: Any) -> None:
    global _spec, _ticks, _stopping
    signal.signal(signal.SIGINT, lambda *_: _interrupted.set())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _spec, _ticks, _stopping = spec, ticks, stopping


@functools.cache
def _opened_in_worker() -> OpenExperiment:
    configure_training_libraries()
    lake, experiment = Lake.open(_spec.lake_uri), _spec.experiment
    return OpenExperiment(experiment, lake, _spec.runs, _spec.lock, world_of(lake, experiment))


def _run_in_worker(work: Work[Result], arm: str, seed: int) -> Result:
    if _stopping.is_set():
        raise TrainingError("this launch did not start", cure="Run it again.")
    opened = _opened_in_worker()
    [launch] = opened.launches(arm, seed)
    return work(opened, launch, _tick_from_worker)


def _tick_from_worker(count: int) -> None:
    _ticks.put(count)
    # Interrupt here, between two updates: where the signal arrives, an update may be half recorded.
    if _interrupted.is_set():
        raise KeyboardInterrupt


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    # The result has no receiver any more; acknowledged events are durable.
    os._exit(1)
