"""Does a small commit cost the same after three thousand others? With upkeep, and without.

Usage: python bench/commit_latency.py [--json] [COMMITS] [EVENTS_PER_COMMIT] [OPENINGS]

Latency is that of `Lake.project` for one landed file of new events, in a process that stays open; the peer is
the same lake without upkeep, which stops at a third of the commits because it is slow. Openings are writers
that were opened once and never again: each is an entry of the cursor and a folder of landed files.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter, process_time
from typing import NamedTuple
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.report import Figure, report
from lake import Lake
from lake.landing import Stamped, land, landed_file, stamped_table
from lake.maintenance import UPKEEP
from schemas.event import event_identity
from schemas.rollout_events import RewardAssigned

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


def commits(lake: Lake, count: int, events: int) -> list[Spent]:
    """One writer that stays open, a landed file for each projection."""
    spent: list[Spent] = []
    with lake.writer("bench") as writer:
        for index in range(count):
            writer.append([reward(index * events + each) for each in range(events)])
            writer.flush()
            spent.append(measured(lake))
    return spent


def openings(lake: Lake, count: int) -> list[Spent]:
    """A writer for each projection, and one event of it."""
    spent: list[Spent] = []
    for index in range(count):
        # Landed by hand: a real opening first reads what is known.
        epoch = f"{index:020d}-bench"
        stamped = Stamped(reward(index), event_identity(reward(index)), "live", None, None)
        moment = datetime.now(UTC)
        rows = stamped_table(KIND, [stamped], 0, run_id="bench", epoch=epoch, recorded_at=moment)
        land(lake.store, landed_file(rows))
        spent.append(measured(lake))
    return spent


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


def main() -> None:
    numbers = [int(word) for word in sys.argv[1:] if word.isdecimal()]
    count, events, opening_count = (*numbers, *(3000, 10, 3000)[len(numbers) :])
    age = UPKEEP.version_age.total_seconds()
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake.create(f"{folder}/maintained")
        report(latency_figures("maintained", commits(lake, count, events)))
        report([share_figure(lake, "right after the last commit")])
        time.sleep(age)
        lake.maintain()
        report([share_figure(lake, f"{age:.0f} s later, with the data that merges replaced")])
        with mock.patch("lake.projection.tend"):
            bare = Lake.create(f"{folder}/bare")
            report(latency_figures("not maintained", commits(bare, count // 3, events)))
            report([share_figure(bare, "not maintained")])
        opened = openings(Lake.create(f"{folder}/openings"), opening_count)
        report(latency_figures("a writer each", opened))


if __name__ == "__main__":
    main()
