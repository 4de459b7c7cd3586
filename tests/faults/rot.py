"""Bit rot: one flipped bit or a cut end, in every sort of file that a lake has.

Flow: a copy of a used lake → one file changed → open, `verify(deep=True)`, project, `verify` again → either
something typed says so, or everything reads as it did before. What reads differently and is not told is
silent corruption. A spool whose frames do not check is cut there, and the rest is kept under `torn/`: that
counts as told.
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

from tests.faults.children import Say, in_child, side_by_side
from tests.faults.history import Told, append_each, append_many, derive_sums, membership, pin_all
from tests.faults.s3_faults import flipped
from tests.faults.scenario import Context, Counts, FaultFoundError, by_part
from tests.faults.syscalls import watched
from tracelake.lake import Lake
from tracelake.lake.landed.reading import read_landed
from tracelake.lake.layout import EVENTS
from tracelake.lake.writing.spool.segment import read_segment
from tracelake.lake.writing.spool.spool import SUFFIX
from tracelake.schemas.errors import TracelakeError

WEIGHTS = {"events": 12, "tables": 6, "pins": 3, "spool": 4, "lake.json": 1}
"""Shares of the flips by the first part of a file's path; other parts have the share 1."""
FLIPS_FULL, FLIPS_SMALL = 600, 40
CUTS_FULL, CUTS_SMALL = 100, 10
SILENT, TOLD, HARMLESS = "silent", "told", "harmless"


class Trial(NamedTuple):
    """What one trial changes."""

    name: str
    path: str
    bit: int | None
    """Which bit is flipped; null: the file is cut."""
    size: int
    """Bytes that are left of a file that is cut."""


class Used(NamedTuple):
    """The lake that is damaged, and what it says while it is whole."""

    root: Path
    told: Told
    contents: dict[str, str]


class Judged(NamedTuple):
    """What became of one change."""

    verdict: str
    why: str


def run(context: Context) -> Counts:
    used = _used(context)
    trials = [trial for trial in _trials(context, used.root) if context.wanted(trial.name)]
    halves = [(context, used, trials[part::2]) for part in range(2)]
    counts: Counter[str] = Counter()
    for part in side_by_side(_part, halves):
        counts.update(part)
    verdicts: Counter[str] = Counter()
    for key, count in counts.items():
        verdicts[key.rsplit(" ", 1)[1]] += count
    detail = f"{by_part(dict(sorted(counts.items())))}; silent corruption 0"
    return Counts(len(trials), "changed files", len(used.contents) * verdicts[HARMLESS], detail)


def _used(context: Context) -> Used:
    root = context.folder / "used" / "lake"
    root.parent.mkdir()
    outcome = watched(partial(_use, root), root, lambda _: None)
    if outcome.exit_code:
        raise FaultFoundError("used", ["making a lake failed, its error is above"])
    told = Told().plus(outcome.said)
    whole = context.place("whole") / "lake"
    shutil.copytree(root, whole)
    whole_contents = in_child(_projected_contents, whole)
    return Used(root, told, whole_contents)


def _use(root: Path, say: Say) -> None:
    """Ends without a close: what the second writer was told is in its spool."""
    lake = Lake.create(str(root))
    append_many(lake, "first", 0, 5, say)
    lake.project()
    derive_sums(lake)
    pin_all(lake, say)
    append_each(lake, "second", range(5, 12), say, land_after=5)


def _trials(context: Context, root: Path) -> list[Trial]:
    files: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.stat().st_size and path.name != "lock":
            files.setdefault(path.relative_to(root).parts[0], []).append(path)
    shares = {part: WEIGHTS.get(part, 1) for part in files}
    trials: list[Trial] = []
    for part, paths in files.items():
        draws = context.random("flips", part)
        flips, cuts = (FLIPS_FULL, CUTS_FULL) if context.full else (FLIPS_SMALL, CUTS_SMALL)
        for number in range(max(1, flips * shares[part] // sum(shares.values()))):
            path = draws.choice(paths)
            bit = draws.randrange(8 * path.stat().st_size)
            trials.append(Trial(f"{part}.flip.{number}", str(path.relative_to(root)), bit, 0))
        for number in range(cuts if part == "spool" else max(1, cuts // 10)):
            path = draws.choice(paths)
            left = _place_to_cut(draws, path)
            trials.append(Trial(f"{part}.cut.{number}", str(path.relative_to(root)), None, left))
    return trials


def _place_to_cut(draws: Random, path: Path) -> int:
    """Not between two frames of a segment: what is gone then, a crash never takes, and no frame tells of."""
    data = path.read_bytes()
    while True:
        left = draws.randrange(len(data))
        if path.suffix != SUFFIX or read_segment(data[:left]).torn_byte_count:
            return left


def _part(context: Context, used: Used, trials: list[Trial]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for trial in trials:
        root = context.place(trial.name) / "lake"
        shutil.copytree(used.root, root)
        victim = root / trial.path
        data = victim.read_bytes()
        victim.write_bytes(data[: trial.size] if trial.bit is None else flipped(data, trial.bit))
        judged = in_child(_judged, root, used)
        if judged.verdict not in (TOLD, HARMLESS):
            change = f"{trial.path}, {'cut to' if trial.bit is None else 'bit'} {trial.bit or trial.size}"
            raise FaultFoundError(trial.name, [f"{change}: {judged.verdict}: {judged.why}"])
        what = " ".join(trial.name.split(".")[:-1][::-1]) if trial.path != "lake.json" else "flip lake.json"
        counts[f"{what} {judged.verdict}"] += 1
        shutil.rmtree(root.parent)
    return dict(counts)


def _judged(root: Path, used: Used) -> Judged:
    try:
        lake = Lake.open(str(root))
        for act in (None, lake.project):
            if act is not None:
                act()
            found = lake.verify(deep=True)
            if not found.ok:
                return Judged(TOLD, found.problems[0])
        if (root / "torn").is_dir() and any((root / "torn").iterdir()):
            return Judged(TOLD, "cut, and the rest put aside")
        if quarantined := list((root / "tables").glob("quarantine/*")):
            return Judged(TOLD, f"put aside: {quarantined[0].name}")
        lost = list(membership(lake, used.told))
        changed = [
            name for name, digest in contents(lake).items() if used.contents.get(name, digest) != digest
        ]
        gone = used.contents.keys() - contents(lake).keys()
    except (TracelakeError, OSError) as error:
        return Judged(TOLD, f"{type(error).__name__}: {error}")
    except BaseException as error:  # noqa: BLE001 - a panic of Rust is no Exception
        return Judged("untyped", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
    if lost or changed or gone:
        return Judged(SILENT, "; ".join([*lost, *changed, *gone][:3]))
    return Judged(HARMLESS, "")


def _projected_contents(root: Path) -> dict[str, str]:
    lake = Lake.open(str(root))
    lake.project()
    return contents(lake)


def contents(lake: Lake) -> dict[str, str]:
    """A digest of everything that a reader may see, by its name. Times of recording are part of it."""
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
