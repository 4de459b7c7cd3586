"""Conflicts: events that share a natural key and differ; listed with what differs, and resolved.

Flow: conflicts found and decided → `list_conflicts` reads both sides and compares them → `plan_resolution`
creates the events that decide.

**Values are shown as they landed**: redaction came before. They are shortened around the first difference.
**A decision lists the events that it saw**, so that a later payload under the key opens the conflict again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict

from tracelake.lake.curation.retractions import after, checked_reason, near_names
from tracelake.lake.curation.selection import RECORD_KINDS, Candidates, is_open, read_candidates
from tracelake.lake.layout import table_path
from tracelake.lake.stores.store import ObjectStore
from tracelake.lake.tables.commits import open_table
from tracelake.lake.tables.fingerprints import FILTER_VALUES_MAX, quoted
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.errors import BadInputError
from tracelake.schemas.events.columns import payload_columns
from tracelake.schemas.events.curation_events import ConflictResolved
from tracelake.schemas.events.kinds import class_of_kind

ID_LENGTH = 16
ID_LENGTH_MIN = 6
SHOWN_MAX = 60
CONTEXT_SHOWN = 15
FIELDS_MAX = 12
"""Differing places listed per conflict."""
VISITED_MAX = 100_000
"""Places of nested JSON that are compared per field."""

Use = Literal["first", "other", "neither"]
ABSENT = object()


class ConflictingEvent(BaseModel):
    """One side of a conflict."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    event_id: str
    source_uri: str | None
    """File that it was read from; null for an event that was recorded live or derived."""
    run_id: str | None
    """The run that wrote it."""
    recorded_at: datetime | None
    """When it was accepted. All three are null if the event is not in its table."""


SIDE_FIELDS = tuple(ConflictingEvent.model_fields)


class Difference(BaseModel):
    """A place where the events differ."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    field: str
    """Name of the field; inside JSON, with the path to the place."""
    values: tuple[str | None, ...]
    """Shortened, in the order of the events; null: the field is null or absent."""


class Conflict(BaseModel):
    """Events of one kind under one natural key."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    conflict_id: str
    """The first digits of the key's hash."""
    state: Literal["open", "resolved", "neither"]
    """`neither`: it was decided that no event counts."""
    kind: str
    rollout_id: str | None
    key: dict[str, Any]
    """The natural key; empty if no event is in its table."""
    key_hash: str
    events: tuple[ConflictingEvent, ...]
    """In the order in which the lake accepted them."""
    differing: tuple[Difference, ...]
    """The first differing places."""
    chosen_event_id: str | None
    """The event that counts."""
    reason: str | None
    """Of the latest decision, even if another payload opened the conflict again."""
    decided_at: datetime | None
    cure: str | None
    """What to do; null unless it is open."""


def list_conflicts(store: ObjectStore) -> list[Conflict]:
    """All conflicts, resolved ones too, by rollout, kind and key; from tables as of their last projection."""
    found = read_candidates(store)
    rows: dict[str, dict[str, Any]] = {}
    for kind in {candidates.kind for candidates, _ in found.values()}:
        wanted = [candidates.event_ids for candidates, _ in found.values() if candidates.kind == kind]
        rows.update(_rows(store, kind, [event_id for ids in wanted for event_id in ids]))
    conflicts = [_conflict(candidates, decision, rows) for candidates, decision in found.values()]
    return sorted(conflicts, key=_place)


def _place(conflict: Conflict) -> tuple[str, str, str, str]:
    return conflict.rollout_id or "", conflict.kind, str(conflict.key), conflict.key_hash


def plan_resolution(
    conflicts: Sequence[Conflict], target: str, *, use: str | None, file: str | None, reason: str
) -> list[ConflictResolved]:
    """The events that decide the conflicts that `target` names: one by its id, or all of a rollout.

    `use` is `first`, `other`, `neither` or an event id; `file` is the address of a source, or its end, whose
    events count. Without an event where the decision stands already. Raises BadInputError.
    """
    checked_reason(reason)
    if (use is None) == (file is None):
        raise BadInputError(
            "say which events count",
            got="neither of the two" if use is None else "both --use and --file",
            expected="--use first, other, neither or EVENT_ID; or --file FILE",
        )
    chosen = {each.key_hash: _choice(each, use, file) for each in targeted(conflicts, target)}
    return [
        _decision(each, chosen[each.key_hash], reason)
        for each in conflicts
        if each.key_hash in chosen and not _stands(each, chosen[each.key_hash], reason)
    ]


def targeted(conflicts: Sequence[Conflict], target: str) -> list[Conflict]:
    """Conflicts by their id, or by their rollout. Raises BadInputError."""
    of_rollout = [each for each in conflicts if each.rollout_id == target]
    if of_rollout:
        return of_rollout
    by_id = [each for each in conflicts if each.key_hash.startswith(target)]
    if len(by_id) == 1 and len(target) >= ID_LENGTH_MIN:
        return by_id
    names = [name for each in conflicts for name in (each.conflict_id, each.rollout_id) if name]
    near = [each.conflict_id for each in by_id[:5]] or near_names(target, names)
    raise BadInputError(
        "no conflict and no rollout in conflict has this name",
        got=target,
        expected=f"perhaps {', '.join(near)}" if near else "the id of a conflict, or of a rollout",
        cure="`tracelake conflicts --all` lists them.",
    )


def _choice(conflict: Conflict, use: str | None, file: str | None) -> str | None:
    if file is not None:
        return _event_of_file(conflict, file)
    ids = [event.event_id for event in conflict.events]
    if use == "neither":
        return None
    if use == "first":
        return ids[0]
    if use == "other" and len(ids) == 2:
        return ids[1]
    named = [event_id for event_id in ids if use and len(use) >= ID_LENGTH_MIN and event_id.startswith(use)]
    if len(named) == 1:
        return named[0]
    raise BadInputError(
        f"conflict {conflict.conflict_id} has no such event" if use != "other" else "other is not one event",
        got=use,
        expected=f"first, neither or one of {', '.join(ids)}",
        cure="`tracelake conflicts --all --format=json` shows where each event comes from.",
    )


def _event_of_file(conflict: Conflict, file: str) -> str:
    uris = {event.event_id: event.source_uri or "" for event in conflict.events}
    exact = [event_id for event_id, uri in uris.items() if uri == file]
    matching = exact or [
        event_id for event_id, uri in uris.items() if uri.endswith(f"/{file}") or uri.endswith(f"!{file}")
    ]
    if len(matching) != 1:
        raise BadInputError(
            f"{'no' if not matching else 'more than one'} event of conflict {conflict.conflict_id} is from "
            "this file",
            got=file,
            expected=f"one of {', '.join(sorted(uri or 'no file' for uri in uris.values()))}",
            cure=f"Decide this one by its event: tracelake conflicts resolve {conflict.conflict_id} "
            "--use EVENT_ID --reason TEXT",
        )
    return matching[0]


def _decision(conflict: Conflict, chosen: str | None, reason: str) -> ConflictResolved:
    return ConflictResolved(
        conflict_kind=conflict.kind,
        conflict_key_hash=conflict.key_hash,
        rollout_id=conflict.rollout_id,
        chosen_event_id=chosen,
        event_ids_json=canonical_text(sorted(event.event_id for event in conflict.events)),
        reason=reason,
        occurred_at=after([conflict.decided_at]),
    )


def _stands(conflict: Conflict, chosen: str | None, reason: str) -> bool:
    """Whether this is the decision that counts already."""
    return conflict.state != "open" and conflict.chosen_event_id == chosen and conflict.reason == reason


def _rows(store: ObjectStore, kind: str, event_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Rows of an event table by event id."""
    dataset = open_table(store.location(table_path(kind)))
    if dataset is None:
        return {}
    rows: dict[str, dict[str, Any]] = {}
    for start in range(0, len(event_ids), FILTER_VALUES_MAX):
        batch = event_ids[start : start + FILTER_VALUES_MAX]
        for row in dataset.to_table(filter=f"event_id IN ({quoted(batch)})").to_pylist():
            rows[row["event_id"]] = row
    return rows


def _conflict(
    candidates: Candidates, decision: Mapping[str, Any] | None, rows: Mapping[str, dict[str, Any]]
) -> Conflict:
    known = [rows[event_id] for event_id in candidates.event_ids if event_id in rows]
    known.sort(key=lambda row: (row["recorded_at"], row["writer_epoch"], row["writer_seq"]))
    missing = [event_id for event_id in candidates.event_ids if event_id not in rows]
    is_still_open = is_open(candidates, decision)
    chosen = None if decision is None or is_still_open else decision["chosen_event_id"]
    cls = class_of_kind(candidates.kind)
    conflict_id = candidates.key_hash[:ID_LENGTH]
    return Conflict(
        conflict_id=conflict_id,
        state="open" if is_still_open else "resolved" if chosen else "neither",
        kind=candidates.kind,
        rollout_id=candidates.rollout_id,
        key={name: known[0][name] for name in cls.KEY} if known else {},
        key_hash=candidates.key_hash,
        events=(
            *(ConflictingEvent(**{field: row[field] for field in SIDE_FIELDS}) for row in known),
            *(
                ConflictingEvent(event_id=event_id, source_uri=None, run_id=None, recorded_at=None)
                for event_id in missing
            ),
        ),
        differing=tuple(_differences(candidates.kind, known)),
        chosen_event_id=chosen,
        reason=None if decision is None else decision["reason"],
        decided_at=None if decision is None else decision["occurred_at"],
        cure=_cure(candidates, conflict_id, known) if is_still_open else None,
    )


def _cure(candidates: Candidates, conflict_id: str, rows: Sequence[Mapping[str, Any]]) -> str:
    of_rollout = candidates.rollout_id is not None and candidates.kind in RECORD_KINDS
    files = {row["source_uri"] for row in rows if row["source_uri"] is not None}
    choice = (
        "--file FILE" if len(files) == len(candidates.event_ids) else "--use first|other|neither|EVENT_ID"
    )
    target = candidates.rollout_id if of_rollout else conflict_id
    return f"tracelake conflicts resolve {target} {choice} --reason TEXT"


def _differences(kind: str, rows: Sequence[dict[str, Any]]) -> list[Difference]:
    cls = class_of_kind(kind)
    found: list[Difference] = []
    names = [name for name in payload_columns(cls) if name not in (*cls.KEY, "source_position")]
    for name in names:
        values = [row[name] for row in rows]
        if len(values) < 2 or all(value == values[0] for value in values):
            continue
        parsed = [_parsed(value) for value in values] if name.endswith("_json") else values
        for path, parts in _differing_places(name, parsed):
            if len(found) == FIELDS_MAX:
                return found
            found.append(Difference(field=path, values=_shortened(parts)))
    return found


def _differing_places(name: str, values: list[Any]) -> Iterable[tuple[str, list[Any]]]:
    """The innermost places where nested values differ; lists of equal length are compared by position."""
    pending: list[tuple[str, list[Any]]] = [(name, values)]
    for _ in range(VISITED_MAX):
        if not pending:
            return
        path, parts = pending.pop()
        if all(isinstance(part, dict) for part in parts):
            keys = sorted({key for part in parts for key in part}, reverse=True)
            pending += [(f"{path}.{key}", [part.get(key, ABSENT) for part in parts]) for key in keys]
        elif all(isinstance(part, list) for part in parts) and len({len(part) for part in parts}) == 1:
            places = range(len(parts[0]) - 1, -1, -1)
            pending += [(f"{path}[{place}]", [part[place] for part in parts]) for place in places]
        elif len({_text(part) for part in parts}) > 1:
            yield path, parts
    if pending:
        yield f"{name} (large)", [None for _ in values]


def _parsed(value: str | None) -> Any:
    try:
        return None if value is None else orjson.loads(value)
    except orjson.JSONDecodeError:
        return value


def _text(value: Any) -> str | None:
    if value is None or value is ABSENT:
        return None
    if isinstance(value, str):
        return value
    return canonical_text(value) if isinstance(value, (dict, list)) else str(value)


def _shortened(values: Sequence[Any]) -> tuple[str | None, ...]:
    """Each value on one line, cut to where they begin to differ."""
    texts = [_text(value) for value in values]
    shared = _shared_length([text for text in texts if text is not None])
    start = 0 if shared <= CONTEXT_SHOWN else shared - CONTEXT_SHOWN
    return tuple(None if text is None else _cut(text, start) for text in texts)


def _shared_length(texts: Sequence[str]) -> int:
    """Number of characters with which all of them begin; 0 for a single one."""
    if len(texts) < 2:
        return 0
    least, most = min(texts), max(texts)
    pairs = enumerate(zip(least, most, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(least), len(most)))


def _cut(text: str, start: int) -> str:
    part = one_line(text[start : start + SHOWN_MAX])
    return f"{'…' if start else ''}{part}{'…' if len(text) > start + SHOWN_MAX else ''}"


def one_line(text: str) -> str:
    """Foreign text for a terminal: marks that are not printable as escapes."""
    return "".join(mark if mark.isprintable() else repr(mark)[1:-1] for mark in text)
