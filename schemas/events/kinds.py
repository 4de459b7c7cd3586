"""The union of all event classes, and the class of each kind."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from pydantic import Field, TypeAdapter, ValidationError

from tracelake.schemas.errors import EventInvalidError
from tracelake.schemas.events.curation_events import ConflictResolved, RetractionDecided
from tracelake.schemas.events.event import Event
from tracelake.schemas.events.lake_events import ConflictFound, EventRejected
from tracelake.schemas.events.rollout_events import (
    RewardAssigned,
    RolloutEnded,
    RolloutStarted,
    ToolReturned,
    TurnCompleted,
)
from tracelake.schemas.events.teacher_events import (
    HintGiven,
    TeacherAnswered,
    TeacherCallReserved,
    TeacherCallSettled,
    TeacherCallStarted,
    TeacherFailed,
)
from tracelake.schemas.events.training_events import (
    BatchConsumed,
    CheckpointSaved,
    ExperimentRegistered,
    TaskEvaluated,
    TrainingEnded,
    TrainingStarted,
)

AnyEvent = Annotated[
    RolloutStarted
    | TurnCompleted
    | ToolReturned
    | RewardAssigned
    | RolloutEnded
    | TeacherAnswered
    | TeacherFailed
    | TeacherCallReserved
    | TeacherCallStarted
    | TeacherCallSettled
    | HintGiven
    | ExperimentRegistered
    | TrainingStarted
    | BatchConsumed
    | CheckpointSaved
    | TrainingEnded
    | TaskEvaluated
    | ConflictFound
    | EventRejected
    | ConflictResolved
    | RetractionDecided,
    Field(discriminator="kind"),
]
"""The discriminated union."""

_ANY_EVENT: TypeAdapter[Event] = TypeAdapter(AnyEvent)

EVENT_CLASSES: tuple[type[Event], ...] = get_args(get_args(AnyEvent)[0])
"""Members of the union, in its order."""
CLASS_OF_KIND: dict[str, type[Event]] = {cls.KIND: cls for cls in EVENT_CLASSES}


def class_of_kind(kind: str) -> type[Event]:
    """Raises EventInvalidError for a kind that this version does not know."""
    if kind not in CLASS_OF_KIND:
        raise EventInvalidError(
            "unknown kind of event",
            got=kind,
            expected=", ".join(CLASS_OF_KIND),
            cure="Upgrade tracelake if a newer version wrote it.",
        )
    return CLASS_OF_KIND[kind]


def parse_event(fields: dict[str, Any]) -> Event:
    """An event from its fields, `kind` included. Raises EventInvalidError."""
    try:
        return _ANY_EVENT.validate_python(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise EventInvalidError(
            "these fields are not a valid event",
            got=f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
            expected=f"a {fields.get('kind')!r} event as docs/data_map.md describes it",
        ) from error
