"""Retractions: taking rollouts out of all later builds, and back in.

**A run is retracted as a run**: rollouts of it that land later are retracted too. The run of an import is a
property of its writing, not of the rollouts, so there each rollout of now is named.
**Pins stay as they are**; `retracted_in` says which of their rollouts have been retracted.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple, get_args

import polars as pl

from tracelake.lake.curation.selection import Selection, latest_by
from tracelake.lake.stores.store import ObjectStore
from tracelake.lake.tables.derived import open_dataset, scan_events
from tracelake.schemas.errors import BadInputError
from tracelake.schemas.events.curation_events import RetractionDecided
from tracelake.schemas.events.rollout_events import RolloutEnded, RolloutStarted, TurnCompleted
from tracelake.schemas.events.teacher_events import TeacherAnswered
from tracelake.schemas.pin import Pin

NamedAs = Literal["rollout", "source_run", "import_run"]
MEANINGS: tuple[NamedAs, ...] = get_args(NamedAs)
NEAR_NAMES_MAX = 5
COMPARED_NAMES_MAX = 20_000
"""Comparing more names for likeness would take seconds."""


class Retraction(NamedTuple):
    """A retraction, or its undoing."""

    named_as: NamedAs
    rollout_ids: tuple[str, ...]
    """All rollouts that it is about, sorted."""
    events: tuple[RetractionDecided, ...]
    """Empty if it was so already."""


class Names(NamedTuple):
    """Names that a retraction may use; each leads to rollouts."""

    rollout: dict[str, set[str]]
    source_run: dict[str, set[str]]
    import_run: dict[str, set[str]]


def plan_retraction(
    store: ObjectStore,
    name: str,
    selection: Selection,
    *,
    reason: str,
    undo: bool = False,
    named_as: NamedAs | None = None,
) -> Retraction:
    """The events to land. Raises BadInputError for a name that is unknown or has two meanings, an empty
    reason, and for undoing what is not retracted."""
    checked_reason(reason)
    found, rollouts = _found(_names(store, name), name, named_as)
    gone = rollouts & selection.retracted
    if undo and not gone:
        raise BadInputError(
            f"{name} is not retracted",
            got=f"{len(rollouts)} rollouts that builds use",
            expected="a retracted rollout or run",
        )
    decisions = scan_events(store, RetractionDecided.KIND).collect().to_dicts()
    scope = "source_run" if found == "source_run" else "rollout"
    ids = [name] if found == "source_run" else sorted(rollouts)
    if not undo and gone == rollouts:
        # It is retracted already: only another reason is something new.
        latest = latest_by(decisions, "scope", "scope_id")
        ids = [each for each in ids if latest.get((scope, each), {}).get("reason") != reason]
    moment = after([row["occurred_at"] for row in decisions])
    events = [
        RetractionDecided(
            scope=scope, scope_id=each, is_retracted=not undo, reason=reason, occurred_at=moment
        )
        for each in ids
    ]
    return Retraction(found, tuple(sorted(rollouts)), tuple(events))


def retracted_in(store: ObjectStore, pin: Pin, selection: Selection) -> tuple[str, ...]:
    """Retracted rollouts that a pin's rows name or descend from, sorted. Raises TableMissingError."""
    retracted = selection.retracted
    if not retracted:
        return ()
    rollout_of = _events_of(store, retracted)
    found: set[str] = set()
    for name, pinned in pin.tables.items():
        dataset = open_dataset(store, name, pinned.version)
        columns = [
            field.name
            for field in dataset.schema
            if field.name in ("rollout_id", "event_id") or field.name.endswith("_event_id")
        ]
        if not columns:
            continue
        rows = pl.DataFrame(dataset.to_table(columns=columns))
        if pinned.quarantined:
            rows = rows.filter(~pl.col("event_id").is_in(pinned.quarantined))
        for column in columns:
            values = set(rows[column].drop_nulls())
            is_rollout = column == "rollout_id"
            found |= values & retracted if is_rollout else {rollout_of[v] for v in values & rollout_of.keys()}
    return tuple(sorted(found))


def checked_reason(reason: str) -> str:
    """Raises BadInputError for an empty one."""
    if not reason.strip():
        raise BadInputError(
            "a decision needs a reason", got="no text", expected="a sentence", cure="Give --reason TEXT."
        )
    return reason


def after(moments: Iterable[datetime | None]) -> datetime:
    """Now, or right after the latest of these moments if its clock was ahead: a new decision must count."""
    latest = max((moment for moment in moments if moment is not None), default=None)
    now = datetime.now(UTC)
    return now if latest is None or latest < now else latest + timedelta(microseconds=1)


def near_names(name: str, names: Iterable[str]) -> list[str]:
    """Names that contain the text or look like it, best first."""
    known = sorted(set(names))
    containing = [each for each in known if name.lower() in each.lower()] if name else []
    like = difflib.get_close_matches(name, known[:COMPARED_NAMES_MAX], n=NEAR_NAMES_MAX)
    return list(dict.fromkeys([*like, *containing]))[:NEAR_NAMES_MAX]


def _names(store: ObjectStore, name: str) -> Names:
    started = scan_events(store, RolloutStarted.KIND).select("rollout_id", "source_run", "run_id").collect()
    names = Names({}, {}, {})
    for rollout_id, source_run, run_id in started.iter_rows():
        names.rollout[rollout_id] = {rollout_id}
        names.import_run.setdefault(run_id, set()).add(rollout_id)
        if source_run is not None:
            names.source_run.setdefault(source_run, set()).add(rollout_id)
    if not any(name in each for each in names):
        # A rollout whose start is not recorded.
        for kind in (TurnCompleted.KIND, RolloutEnded.KIND):
            rows = scan_events(store, kind).filter(pl.col("rollout_id") == name)
            if rows.select(pl.len()).collect().item():
                names.rollout[name] = {name}
    return names


def _found(names: Names, name: str, named_as: NamedAs | None) -> tuple[NamedAs, set[str]]:
    meanings: list[NamedAs] = [
        each for each in MEANINGS if named_as in (None, each) and name in getattr(names, each)
    ]
    if not meanings:
        looked_in: Sequence[str] = MEANINGS if named_as is None else (named_as,)
        near = near_names(name, [each for field in looked_in for each in getattr(names, field)])
        raise BadInputError(
            "no rollout and no run has this name",
            got=name,
            expected=f"perhaps {', '.join(near)}" if near else "the id of a rollout, or the name of a run",
            cure='List them: tracelake query "SELECT rollout_id, source_run, run_id FROM rollout_started".',
        )
    rollouts = {meaning: getattr(names, meaning)[name] for meaning in meanings}
    if len(meanings) > 1 and len({frozenset(each) for each in rollouts.values()}) > 1:
        raise BadInputError(
            f"{name} is the name of {' and of '.join(meanings)}",
            got=", ".join(f"{meaning}: {len(each)} rollouts" for meaning, each in rollouts.items()),
            expected="one meaning",
            cure="Choose one with --as.",
        )
    return meanings[0], rollouts[meanings[0]]


def _events_of(store: ObjectStore, rollouts: frozenset[str]) -> dict[str, str]:
    """Event ids of the rollouts' turns, and of answers harvested from them, with the rollout of each."""
    is_theirs = pl.col("rollout_id").is_in(sorted(rollouts))
    is_harvested = pl.col("origin") == "harvested"
    found = (
        scan_events(store, TurnCompleted.KIND).filter(is_theirs),
        scan_events(store, TeacherAnswered.KIND).filter(is_theirs & is_harvested),
    )
    rows = [events.select("event_id", "rollout_id").collect() for events in found]
    return dict(pl.concat(rows).iter_rows())
