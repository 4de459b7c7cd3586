"""Latency of a small commit after three thousand others, with and without maintenance.

Usage: python bench/commit_latency.py [--json] [COMMITS] [EVENTS_PER_COMMIT] [OPENINGS]

Latency is that of `Lake.project` for one landed file of new events, in a process that stays open. The peer is
the same lake without maintenance; it stops at a third of the commits because it is slow. Openings are writers
that write once: each is an entry of the cursor and a folder of landed files.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from time import perf_counter, process_time
from typing import NamedTuple
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.report import Figure, report
from tracelake.lake import Lake
from tracelake.lake.maintenance.limits import DEFAULT_LIMITS
from tracelake.lake.tables.derived import open_dataset
from tracelake.lake.tables.tags import end_lease, tags_of
from tracelake.schemas.events.rollout_events import RewardAssigned

KIND = "reward_assigned"
WINDOW = 100
LATENCY_RATIO_MAX = 2.0
METADATA_SHARE_MAX = 0.10


class Spent(NamedTuple):
    """Milliseconds of one projection."""

    wall_ms: float
    cpu_ms: float


class Sizes(NamedTuple):
    """Bytes of a table's folder."""

    data: int
    metadata: int


def reward(index: int) -> RewardAssigned:
    return RewardAssigned(rollout_id=f"r{index}", name="reward", score=1.0, grader="bench")


def sizes(lake: Lake) -> Sizes:
    folder = Path(lake.uri) / "tables" / f"{KIND}.lance"
    data = sum(path.stat().st_size for path in (folder / "data").rglob("*") if path.is_file())
    whole = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Sizes(data, whole - data)


def measured(lake: Lake) -> Spent:
    """One projection."""
    wall, cpu = perf_counter(), process_time()
    lake.project([KIND])
    return Spent((perf_counter() - wall) * 1e3, (process_time() - cpu) * 1e3)


class Commits:
    """One writer that stays open, a landed file for each projection."""

    def __init__(self, lake: Lake, events: int) -> None:
        self.lake = lake
        self._writer = lake.writer("bench")
        self._numbers = count()
        self._events = events

    def __call__(self) -> Spent:
        self._writer.append([reward(next(self._numbers)) for _ in range(self._events)])
        self._writer.flush()
        return measured(self.lake)


class Openings:
    """A writer for each projection, and one event of it."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self._numbers = count()

    def __call__(self) -> Spent:
        with self.lake.writer("bench") as writer:
            writer.append([reward(next(self._numbers))])
        return measured(self.lake)


def vs_fresh_table(case: str, old: Callable[[], Spent], fresh: Callable[[], Spent]) -> list[Figure]:
    """Alternates between the next hundred commits of an old table and the first of a fresh one, so that a
    drift of the machine affects both."""
    pairs = [(old(), fresh()) for _ in range(WINDOW)]
    figures: list[Figure] = []
    for name in Spent._fields:
        now, new = (
            statistics.median(getattr(each, name) for each in side) for side in zip(*pairs, strict=True)
        )
        label = f"{case}, p50 of {name}, in turn with a fresh table's first hundred"
        figures.append(
            Figure("commit_latency", label, "ms", now, {"fresh": new}, new * LATENCY_RATIO_MAX, False)
        )
    return figures


def latency_figures(case: str, spent: list[Spent]) -> list[Figure]:
    """Medians over a hundred projections; the limit is twice the first hundred's."""
    figures: list[Figure] = []
    for at in sorted({min(at, len(spent)) for at in (WINDOW, 1000, 3000, len(spent))}):
        for name in Spent._fields:
            first, now = (
                statistics.median(getattr(each, name) for each in part)
                for part in (spent[:WINDOW], spent[max(0, at - WINDOW) : at])
            )
            limit = first * LATENCY_RATIO_MAX
            label = f"{case}, p50 of {name} after {at}"
            figures.append(Figure("commit_latency", label, "ms", now, {"first hundred": first}, limit, False))
    return figures


def share_figure(lake: Lake, case: str) -> Figure:
    found = sizes(lake)
    unit = f"of {found.data / 2**20:.1f} MiB of data"
    share = found.metadata / found.data
    return Figure("metadata_share", case, unit, share, {}, METADATA_SHARE_MAX, False)


def _end_leases(lake: Lake) -> None:
    """As their expiry does after an hour."""
    dataset = open_dataset(lake.store, KIND)
    for tag in tags_of(dataset):
        end_lease(dataset, tag)


def main() -> None:
    numbers = [int(word) for word in sys.argv[1:] if word.isdecimal()]
    commit_count, events, opening_count = (*numbers, *(3000, 10, 3000)[len(numbers) :])
    age = DEFAULT_LIMITS.version_age.total_seconds()
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake.create(f"{folder}/maintained")
        commit = Commits(lake, events)
        report(latency_figures("maintained", [commit() for _ in range(commit_count)]))
        report(vs_fresh_table("maintained", commit, Commits(Lake.create(f"{folder}/fresh"), events)))
        report([share_figure(lake, "right after the last commit")])
        time.sleep(age)
        lake.maintain()
        report([share_figure(lake, f"{age:.0f} s later, with the data that merges replaced")])
        _end_leases(lake)
        lake.maintain()
        report([share_figure(lake, "once no reader can be left that began before the merges")])
        with mock.patch("tracelake.lake.projection.project.maintain_if_due"):
            bare = Lake.create(f"{folder}/bare")
            commit = Commits(bare, events)
            report(latency_figures("not maintained", [commit() for _ in range(commit_count // 3)]))
            report([share_figure(bare, "not maintained")])
        opening = Openings(Lake.create(f"{folder}/openings"))
        report(latency_figures("a writer each", [opening() for _ in range(opening_count)]))
        report([share_figure(opening.lake, "a writer and one event each, right after the last commit")])
        report(vs_fresh_table("a writer each", opening, Openings(Lake.create(f"{folder}/fresh-openings"))))


if __name__ == "__main__":
    main()
