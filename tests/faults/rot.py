"""Bit rot: one flipped bit or a truncated end, in every type of file of a lake.

Flow: copy a used lake → change one file → open, `verify(deep=True)`, project, `verify` again → the damage is
reported by a typed error or an audit, or everything reads as before.

**A different reading without a report is silent corruption.** Recovery truncates a spool segment at the first
frame with a wrong checksum and moves the rest to `torn/`; that counts as a report.
"""

from __future__ import annotations

import hashlib
import io
import shutil
from collections import Counter
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pyarrow as pa

from tests.faults.children import Emit, in_child, side_by_side
from tests.faults.s3_faults import flip_bit
from tests.faults.scenario import Context, Counts, FaultFoundError, join_counts
from tests.faults.syscalls import watched
from tests.faults.workload import WorkRecord, append_each, append_many, derive_sums, event_problems, pin_all
from tracelake.lake import Lake
from tracelake.lake.landed.reading import read_landed
from tracelake.lake.layout import EVENTS
from tracelake.lake.writing.spool.segment import read_segment
from tracelake.lake.writing.spool.spool import SEGMENT_SUFFIX
from tracelake.schemas.errors import TracelakeError

WEIGHTS = {"events": 12, "tables": 6, "pins": 3, "spool": 4, "lake.json": 1}
"""Relative numbers of flips by the first segment of a file's path; 1 for any other."""
FLIPS_FULL, FLIPS_SMALL = 600, 40
CUTS_FULL, CUTS_SMALL = 100, 10
SILENT, REPORTED, HARMLESS = "silent", "reported", "harmless"


class RotTrial(NamedTuple):
    """The change that one trial makes."""

    name: str
    path: str
    bit: int | None
    """The bit to flip; null: the file is truncated."""
    size: int
    """Bytes that remain of a truncated file."""


class OriginalLake(NamedTuple):
    """The lake that the trials copy, and its contents without damage."""

    root: Path
    record: WorkRecord
    contents: dict[str, str]


class Outcome(NamedTuple):
    """The effect of one change."""

    effect: str
    reason: str


def run(context: Context) -> Counts:
    original = _original_lake(context)
    trials = [trial for trial in _trials(context, original.root) if context.is_selected(trial.name)]
    halves = [(context, original, trials[part::2]) for part in range(2)]
    counts: Counter[str] = Counter()
    for part in side_by_side(_run_part, halves):
        counts.update(part)
    harmless = sum(count for name, count in counts.items() if name.endswith(HARMLESS))
    detail = f"{join_counts(dict(sorted(counts.items())))}; silent corruption 0"
    return Counts(len(trials), "changed files", len(original.contents) * harmless, detail)


def _original_lake(context: Context) -> OriginalLake:
    root = context.folder / "used" / "lake"
    root.parent.mkdir()
    built = watched(partial(_use, root), root, lambda _: None)
    if built.exit_code:
        raise FaultFoundError("used", ["building a lake failed, its error is above"])
    undamaged = context.trial_folder("undamaged") / "lake"
    shutil.copytree(root, undamaged)
    return OriginalLake(root, WorkRecord().plus(built.lines), in_child(_projected_contents, undamaged))


def _use(root: Path, emit: Emit) -> None:
    """The second writer is not closed, so that its spool has acknowledged events."""
    lake = Lake.create(str(root))
    append_many(lake, "first", 0, 5, emit)
    lake.project()
    derive_sums(lake)
    pin_all(lake, emit)
    append_each(lake, "second", range(5, 12), emit, land_after=5)


def _trials(context: Context, root: Path) -> list[RotTrial]:
    files: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.stat().st_size and path.name != "lock":
            files.setdefault(path.relative_to(root).parts[0], []).append(path)
    shares = {part: WEIGHTS.get(part, 1) for part in files}
    trials: list[RotTrial] = []
    for part, paths in files.items():
        draws = context.random("flips", part)
        flips, cuts = (FLIPS_FULL, CUTS_FULL) if context.full else (FLIPS_SMALL, CUTS_SMALL)
        for number in range(max(1, flips * shares[part] // sum(shares.values()))):
            path = draws.choice(paths)
            bit = draws.randrange(8 * path.stat().st_size)
            trials.append(RotTrial(f"{part}.flip.{number}", str(path.relative_to(root)), bit, 0))
        for number in range(cuts if part == "spool" else max(1, cuts // 10)):
            path = draws.choice(paths)
            size = _truncated_size(draws, path)
            trials.append(RotTrial(f"{part}.cut.{number}", str(path.relative_to(root)), None, size))
    return trials


def _truncated_size(draws: Random, path: Path) -> int:
    """Not a boundary between two frames of a segment: no frame shows such a loss, and no crash causes it."""
    data = path.read_bytes()
    while True:
        size = draws.randrange(len(data))
        if path.suffix != SEGMENT_SUFFIX or read_segment(data[:size]).torn_byte_count:
            return size


def _run_part(context: Context, original: OriginalLake, trials: list[RotTrial]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for trial in trials:
        root = context.trial_folder(trial.name) / "lake"
        shutil.copytree(original.root, root)
        victim = root / trial.path
        data = victim.read_bytes()
        victim.write_bytes(data[: trial.size] if trial.bit is None else flip_bit(data, trial.bit))
        outcome = in_child(_outcome, root, original)
        if outcome.effect not in (REPORTED, HARMLESS):
            change = f"{trial.path}, {'cut to' if trial.bit is None else 'bit'} {trial.bit or trial.size}"
            raise FaultFoundError(trial.name, [f"{change}: {outcome.effect}: {outcome.reason}"])
        change = " ".join(trial.name.split(".")[:-1][::-1]) if trial.path != "lake.json" else "flip lake.json"
        counts[f"{change} {outcome.effect}"] += 1
        shutil.rmtree(root.parent)
    return dict(counts)


def _outcome(root: Path, original: OriginalLake) -> Outcome:
    try:
        lake = Lake.open(str(root))
        for action in (None, lake.project):
            if action is not None:
                action()
            found = lake.verify(deep=True)
            if not found.ok:
                return Outcome(REPORTED, found.problems[0])
        if (root / "torn").is_dir() and any((root / "torn").iterdir()):
            return Outcome(REPORTED, "truncated, and the rest moved to `torn/`")
        if quarantined := list((root / "tables").glob("quarantine/*")):
            return Outcome(REPORTED, f"quarantined: {quarantined[0].name}")
        lost = list(event_problems(lake, original.record))
        now = contents(lake)
        changed = [name for name, digest in now.items() if original.contents.get(name, digest) != digest]
        missing = original.contents.keys() - now.keys()
    except (TracelakeError, OSError) as error:
        return Outcome(REPORTED, f"{type(error).__name__}: {error}")
    except BaseException as error:  # noqa: BLE001 - a panic of Rust is not an Exception
        return Outcome("untyped", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
    if lost or changed or missing:
        return Outcome(SILENT, "; ".join([*lost, *changed, *missing][:3]))
    return Outcome(HARMLESS, "")


def _projected_contents(root: Path) -> dict[str, str]:
    lake = Lake.open(str(root))
    lake.project()
    return contents(lake)


def contents(lake: Lake) -> dict[str, str]:
    """A digest of everything that a reader can see, by name; the envelopes are included."""
    found: dict[str, str] = {}
    for path in lake.store.list(EVENTS, ".parquet"):
        found[path] = _digest(read_landed(lake.store, path))
    for name in lake.tables():
        found[f"table {name}"] = _frame_digest(lake.scan(name).collect())
    for pin in lake.pins():
        opened = lake.open_pin(pin.reference)
        found |= {
            f"{pin.reference} {name}": _frame_digest(opened.scan(name).collect()) for name in pin.tables
        }
    return found


def _frame_digest(frame: Any) -> str:
    return _digest(frame.sort(frame.columns[0]).to_arrow())


def _digest(table: pa.Table) -> str:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return hashlib.sha256(sink.getvalue()).hexdigest()
