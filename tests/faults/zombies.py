"""Zombies: writers, projectors, maintenance and readers at once, with one of them paused for a while.

Flow: each works in its own process → a drawn process is stopped with SIGSTOP and later resumed with its
outdated view → all are killed → their output is compared with each other and with the lake.

**Each version is one set of rows** for every reader. A reader never sees an older version after a newer one.
Rows never disappear, and a pin always reads the same.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

from tests.faults.children import Emit, complete_lines, emitter, fork_child, in_child, kill_and_read
from tests.faults.scenario import Context, Counts, FaultFoundError
from tests.faults.workload import (
    KINDS,
    WorkRecord,
    append_each,
    append_many,
    check_lake,
    derive_sums,
    maintain,
    pin_all,
)
from tracelake.lake import Lake
from tracelake.schemas.errors import CommitContendedError, TableMissingError

PAUSES_FULL, PAUSES_SMALL = 60, 6
PAUSES_PER_LAKE = 6
PAUSE_SECONDS = (0.3, 2.0)
INDICES_PER_WRITER = 1_000_000


class LakeCounts(NamedTuple):
    """Counts and problems of one lake."""

    pauses: int
    operations: int
    check_count: int
    problems: list[str]


def run(context: Context) -> Counts:
    pauses = operations = checked = 0
    total = PAUSES_FULL if context.full else PAUSES_SMALL
    for number in range(-(-total // PAUSES_PER_LAKE)):
        trial = f"lake.{number}"
        if not context.is_selected(trial):
            continue
        counts = _run_lake(context, trial)
        if counts.problems:
            raise FaultFoundError(trial, counts.problems)
        pauses += counts.pauses
        operations += counts.operations
        checked += counts.check_count
    detail = f"{operations:,} operations reported; lost 0, doubled 0, versions forked 0, pins changed 0"
    return Counts(pauses, "pauses", checked, detail)


def _run_lake(context: Context, trial: str) -> LakeCounts:
    draws = context.random(trial)
    root = context.trial_folder(trial) / "lake"
    in_child(_create, root)
    workers = Workers(root, trial)
    try:
        workers.read_output(0.5)
        for _ in range(PAUSES_PER_LAKE):
            zombie = draws.choice(list(workers.children))
            os.kill(workers.children[zombie].pid, signal.SIGSTOP)
            workers.read_output(draws.uniform(*PAUSE_SECONDS))
            os.kill(workers.children[zombie].pid, signal.SIGCONT)
            workers.read_output(draws.uniform(0.1, 0.5))
    finally:
        lines = workers.kill_all()
    problems = list(output_problems(lines))
    record = WorkRecord().plus(["ack 0 1"]).plus(line for output in lines.values() for line in output)
    problems += in_child(lambda: maintain(Lake.open(str(root))))
    found = in_child(check_lake, root, record)
    shutil.rmtree(root, ignore_errors=not (problems or found.problems))
    operations = sum(map(len, lines.values()))
    return LakeCounts(PAUSES_PER_LAKE, operations, found.event_count, [*problems, *found.problems])


def _create(root: Path) -> None:
    lake = Lake.create(str(root))
    append_many(lake, "first", 0, 2, lambda _: None)
    lake.project()


class Workers:
    """Processes that work on one lake until they are killed, and their output."""

    def __init__(self, root: Path, trial: str) -> None:
        self._trial = trial
        jobs: dict[str, Callable[[Lake, int, Emit], None]] = {
            "writer-1": _write,
            "writer-2": _write,
            "projector-1": _project,
            "projector-2": _project,
            "maintenance": _maintain,
            "reader-1": _read,
            "reader-2": _read,
        }
        self.children = {
            name: fork_child(
                lambda pipe, job=job, number=number: job(Lake.open(str(root)), number, emitter(pipe))
            )
            for number, (name, job) in enumerate(jobs.items(), 1)
        }
        self._output: dict[str, bytes] = dict.fromkeys(jobs, b"")

    def read_output(self, seconds: float) -> None:
        """Read for some time, so that no worker blocks on a full pipe."""
        names = {child.pipe: name for name, child in self.children.items()}
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for pipe in select.select(list(names), [], [], left)[0]:
                data = os.read(pipe, 2**16)
                if not data:
                    raise FaultFoundError(self._trial, [f"{names[pipe]} ended, its error is above"])
                self._output[names[pipe]] += data

    def kill_all(self) -> dict[str, list[str]]:
        """Complete lines of each worker's output."""
        return {
            name: complete_lines(self._output[name] + kill_and_read(child))
            for name, child in self.children.items()
        }


def _write(lake: Lake, number: int, emit: Emit) -> None:
    for index in count(number * INDICES_PER_WRITER, 5):
        append_each(lake, "zombie", range(index, index + 3), emit, land_after=index)
        append_many(lake, "zombie", index + 3, 2, emit)


def _project(lake: Lake, _: int, emit: Emit) -> None:
    while True:
        try:
            lake.project()
            emit("projected")
        except CommitContendedError:
            emit("contended")


def _maintain(lake: Lake, _: int, emit: Emit) -> None:
    while True:
        # Another process may win a race. The next call does the rest.
        for problem in maintain(lake) or ["nothing"]:
            emit(f"maintained {problem.splitlines()[0]}")
        time.sleep(0.2)


def _read(lake: Lake, _: int, emit: Emit) -> None:
    """Emit each version as it appears; create pins and reopen the newest of them again and again."""
    pins: list[tuple[str, str]] = []

    def emit_pin(line: str) -> None:
        pins.append((line.split()[1], line.split()[2]))
        emit(line)

    while True:
        for kind in KINDS:
            try:
                state = lake.state(kind)
            except TableMissingError:
                continue
            emit(f"version {kind} {state.version} {state.row_count} {state.digest}")
        derive_sums(lake)
        pin_all(lake, emit_pin)
        for reference, digest in pins[-5:]:
            emit(f"reopened {reference} {digest} {lake.open_pin(reference).pin.digest}")


def output_problems(lines: dict[str, list[str]]) -> Iterator[str]:
    """Contradictions between the lines of all workers. One pass over the lines."""
    rows_of: dict[tuple[str, int], str] = {}
    for name, output in lines.items():
        newest: dict[str, int] = {}
        for kind, version, rows in _versions(output):
            if version < newest.get(kind, 0):
                yield f"{name} read version {version} of {kind} after {newest[kind]}"
            newest[kind] = version
            if rows_of.setdefault((kind, version), rows) != rows:
                yield f"version {version} of {kind} was read as {rows_of[kind, version]} and as {rows}"
        for line in output:
            word, *rest = line.split()
            if word == "reopened" and rest[1] != rest[2]:
                yield f"{name}: pin {rest[0]} was {rest[1]}, opened as {rest[2]}"
    counts: dict[str, list[tuple[int, int]]] = {}
    for (kind, version), rows in rows_of.items():
        counts.setdefault(kind, []).append((version, int(rows.split()[0])))
    for kind, pairs in counts.items():
        sizes = [size for _, size in sorted(pairs)]
        if sizes != sorted(sizes):
            yield f"rows of {kind} became fewer from one version to the next"


def _versions(lines: Iterable[str]) -> Iterator[tuple[str, int, str]]:
    for line in lines:
        word, *rest = line.split()
        if word == "version":
            yield rest[0], int(rest[1]), f"{rest[2]} {rest[3]}"
