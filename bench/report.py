"""Output of all benchmarks: one readable line per figure, or one JSON object per line."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from time import perf_counter
from typing import NamedTuple


class Figure(NamedTuple):
    """One result of a benchmark, with peers and a limit to compare it with."""

    bench: str
    case: str
    unit: str
    ours: float
    peers: dict[str, float]
    limit: float | None
    higher_is_better: bool


def report(figures: list[Figure]) -> None:
    """Print the figures; as JSON if the command line has `--json`."""
    for figure in figures:
        if "--json" in sys.argv:
            print(json.dumps(figure._asdict()))
            continue
        references = {**figure.peers, **({"limit": figure.limit} if figure.limit is not None else {})}
        ratios = ", ".join(
            f"{name} {value:.4g} ({figure.ours / value:.2f}x)" if value else f"{name} 0"
            for name, value in references.items()
        )
        print(f"{figure.bench} {figure.case}: ours {figure.ours:.4g} {figure.unit}; {ratios}")


def side_by_side(ours: Callable[[], object], peer: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median seconds of both, run alternately, so that a drift of the machine affects both."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for run, times in zip((ours, peer), seconds, strict=True):
            start = perf_counter()
            run()
            times.append(perf_counter() - start)
    return statistics.median(seconds[0]), statistics.median(seconds[1])
