"""Zombies: writers, projectors, maintenance and readers at once, one of them paused while the others go on.

Flow: each in a process of its own → a drawn one is stopped with SIGSTOP, later resumed with what it then
believes → all are killed → their histories are compared with each other and with the lake.

The history of versions: each is one set of rows, whoever reads it; a reader never sees an older one after a
newer one; what an acknowledged event is in stays there; a pin reads the same for ever.
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

from tests.faults.children import Child, Say, ended, forked, in_child, speaker, whole_lines
from tests.faults.history import (
    KINDS,
    Told,
    append_each,
    append_many,
    checked,
    derive_sums,
    maintain,
    pin_all,
)
from tests.faults.scenario import Context, Counts, FaultFoundError
from tracelake.lake import Lake
from tracelake.schemas.errors import CommitContendedError, TableMissingError

PAUSES_FULL, PAUSES_SMALL = 60, 6
PAUSES_PER_LAKE = 6
PAUSE_SECONDS = (0.3, 2.0)
INDICES_PER_WRITER = 1_000_000


class Tally(NamedTuple):
    """What one lake went through."""

    pauses: int
    operations: int
    checked: int
    problems: list[str]


def run(context: Context) -> Counts:
    pauses = operations = seen = 0
    total = PAUSES_FULL if context.full else PAUSES_SMALL
    for number in range(-(-total // PAUSES_PER_LAKE)):
        trial = f"lake.{number}"
        if not context.wanted(trial):
            continue
        tally = _lake_life(context, trial)
        if tally.problems:
            raise FaultFoundError(trial, tally.problems)
        pauses += tally.pauses
        operations += tally.operations
        seen += tally.checked
    detail = (
        f"{operations:,} operations in the histories; lost 0, doubled 0, versions forked 0, pins changed 0"
    )
    return Counts(pauses, "pauses", seen, detail)


def _lake_life(context: Context, trial: str) -> Tally:
    draws = context.random(trial)
    root = context.place(trial) / "lake"
    in_child(_make, root)
    crew = Crew(root, trial)
    try:
        crew.listen(0.5)
        for _ in range(PAUSES_PER_LAKE):
            zombie = draws.choice(list(crew.children))
            with_signal(crew.children[zombie], signal.SIGSTOP)
            crew.listen(draws.uniform(*PAUSE_SECONDS))
            with_signal(crew.children[zombie], signal.SIGCONT)
            crew.listen(draws.uniform(0.1, 0.5))
    finally:
        lines = crew.ended()
    problems = list(history_problems(lines))
    told = Told().plus(["ack 0 1"]).plus(line for said in lines.values() for line in said)
    problems += in_child(lambda: maintain(Lake.open(str(root))))
    found = in_child(checked, root, told)
    shutil.rmtree(root, ignore_errors=not (problems or found.problems))
    operations = sum(map(len, lines.values()))
    return Tally(PAUSES_PER_LAKE, operations, found.event_count, [*problems, *found.problems])


def with_signal(child: Child, number: int) -> None:
    os.kill(child.pid, number)


def _make(root: Path) -> None:
    lake = Lake.create(str(root))
    append_many(lake, "first", 0, 2, lambda _: None)
    lake.project()


class Crew:
    """Processes that work on one lake until they are ended; what each said."""

    def __init__(self, root: Path, trial: str) -> None:
        self._trial = trial
        jobs: dict[str, Callable[[Lake, int, Say], None]] = {
            "writer-1": _write,
            "writer-2": _write,
            "projector-1": _project,
            "projector-2": _project,
            "upkeep": _keep_up,
            "reader-1": _read,
            "reader-2": _read,
        }
        self.children = {
            name: forked(lambda pipe, job=job, at=at: job(Lake.open(str(root)), at, speaker(pipe)))
            for at, (name, job) in enumerate(jobs.items(), 1)
        }
        self._data: dict[str, bytes] = dict.fromkeys(jobs, b"")

    def listen(self, seconds: float) -> None:
        """Reads on, so that nobody waits for the harness."""
        names = {child.pipe: name for name, child in self.children.items()}
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for pipe in select.select(list(names), [], [], left)[0]:
                data = os.read(pipe, 2**16)
                if not data:
                    raise FaultFoundError(self._trial, [f"{names[pipe]} ended, its error is above"])
                self._data[names[pipe]] += data

    def ended(self) -> dict[str, list[str]]:
        """Killed where they are; a line that was cut was not said."""
        lines: dict[str, list[str]] = {}
        for name, child in self.children.items():
            lines[name] = whole_lines(self._data[name] + ended(child))
        return lines


def _write(lake: Lake, at: int, say: Say) -> None:
    for index in count(at * INDICES_PER_WRITER, 5):
        append_each(lake, "zombie", range(index, index + 3), say, land_after=index)
        append_many(lake, "zombie", index + 3, 2, say)


def _project(lake: Lake, _: int, say: Say) -> None:
    while True:
        try:
            lake.project()
            say("projected")
        except CommitContendedError:
            say("contended")


def _keep_up(lake: Lake, _: int, say: Say) -> None:
    while True:
        # Another process may be faster; what it left undone is done the next time.
        for problem in maintain(lake) or ["nothing"]:
            say(f"maintained {problem.splitlines()[0]}")
        time.sleep(0.2)


def _read(lake: Lake, _: int, say: Say) -> None:
    """Says versions as they come, and looks at every pin that it made again and again."""
    pins: list[tuple[str, str]] = []

    def told(line: str) -> None:
        pins.append((line.split()[1], line.split()[2]))
        say(line)

    while True:
        for kind in KINDS:
            try:
                state = lake.state(kind)
            except TableMissingError:
                continue
            say(f"version {kind} {state.version} {state.row_count} {state.digest}")
        derive_sums(lake)
        pin_all(lake, told)
        for reference, digest in pins[-5:]:
            say(f"reopened {reference} {digest} {lake.open_pin(reference).pin.digest}")


def history_problems(lines: dict[str, list[str]]) -> Iterator[str]:
    """In the time of one comparison per line."""
    rows_of: dict[tuple[str, int], str] = {}
    for name, said in lines.items():
        newest: dict[str, int] = {}
        for kind, version, rows in _versions(said):
            if version < newest.get(kind, 0):
                yield f"{name} read version {version} of {kind} after {newest[kind]}"
            newest[kind] = version
            if rows_of.setdefault((kind, version), rows) != rows:
                yield f"version {version} of {kind} was read as {rows_of[kind, version]} and as {rows}"
        for line in said:
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


def _versions(said: Iterable[str]) -> Iterator[tuple[str, int, str]]:
    for line in said:
        word, *rest = line.split()
        if word == "version":
            yield rest[0], int(rest[1]), f"{rest[2]} {rest[3]}"
