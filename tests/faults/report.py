"""The table of counts in a page: one row per scenario, replaced after each run."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tests.faults.scenario import Counts

BEGIN, END = "<!-- counts: written by `python -m tests.faults --report` -->", "<!-- end of counts -->"
HEAD = "| Scenario | Done | Checks | Parts | Repeat |\n|---|---|---|---|---|"


class Measured(NamedTuple):
    """A scenario that ran and found no fault."""

    name: str
    counts: Counts
    seed: int
    seconds: float
    full: bool


def write_report(page: Path, measured: list[Measured]) -> None:
    """Replace the rows of the measured scenarios. Raises ValueError for a page without the two marks."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    table, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{page} has no place for the counts: {BEGIN} … {END}")
    rows = {line.split("`")[1]: line for line in table.splitlines() if line.startswith("| `")}
    rows |= {each.name: _row(each) for each in measured}
    lines = "\n".join([HEAD, *rows.values()])
    page.write_text(f"{before}{BEGIN}\n\n{lines}\n\n{END}{after}", encoding="utf-8")


def _row(each: Measured) -> str:
    command = f"python -m tests.faults --only {each.name} --seed {each.seed}{'' if each.full else ' --small'}"
    count = f"{each.counts.count:,} {each.counts.unit}"
    return f"| `{each.name}` | {count} | {each.counts.check_count:,} | {each.counts.detail} | `{command}` |"
