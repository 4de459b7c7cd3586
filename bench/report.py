"""How every benchmark reports: a table for people, or one JSON object per line."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from time import perf_counter
from typing import NamedTuple


class Figure(NamedTuple):
    """One line of a benchmark."""

    bench: str
    case: str
    unit: str
    ours: float
    peers: dict[str, float]
    limit: float | None
    higher_is_better: bool


def report(figures: list[Figure]) -> None:
    """`--json` on the command line: one object per line."""
    for figure in figures:
        if "--json" in sys.argv:
            print(json.dumps(figure._asdict()))
            continue
        beside = {**figure.peers, **({"limit": figure.limit} if figure.limit is not None else {})}
        ratios = ", ".join(
            f"{name} {value:.4g} ({figure.ours / value:.2f}x)" if value else f"{name} 0"
            for name, value in beside.items()
        )
        print(f"{figure.bench} {figure.case}: ours {figure.ours:.4g} {figure.unit}; {ratios}")


def side_by_side(ours: Callable[[], object], peer: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median seconds of both, run in turn, so that a drift of the machine meets both."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for run, spent in zip((ours, peer), seconds, strict=True):
            began = perf_counter()
            run()
            spent.append(perf_counter() - began)
    return statistics.median(seconds[0]), statistics.median(seconds[1])
