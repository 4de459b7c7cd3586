"""Hypothesis strategies for events of every kind, built from the fields of their classes."""

from __future__ import annotations

from datetime import datetime
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from hypothesis import strategies as st

from tracelake.schemas.events.event import Event, storage_of
from tracelake.schemas.events.kinds import EVENT_CLASSES

INT_64 = st.integers(-(2**63), 2**63 - 1)
# In this range, a time in any time zone is between the years 1 and 9999 in UTC.
MOMENTS = st.datetimes(
    datetime(2, 1, 1),  # noqa: DTZ001
    datetime(9998, 12, 31),  # noqa: DTZ001
    timezones=st.timezones(),
)
FLOAT_32 = st.floats(width=32, allow_nan=False)

_SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(),
    int: INT_64,
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    datetime: MOMENTS,
}
_STORED: dict[str, st.SearchStrategy[Any]] = {
    "text": st.text(),
    "int32": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5),
    "float32": st.lists(FLOAT_32, max_size=5),
    "bool": st.lists(st.booleans(), max_size=5),
}


def field_values(cls: type[Event], name: str) -> st.SearchStrategy[Any]:
    """Values of one field, null included if the field may be null."""
    annotation: Any = cls.model_fields[name].annotation
    nullable = NoneType in get_args(annotation)
    if nullable:
        annotation = next(member for member in get_args(annotation) if member is not NoneType)
    storage = storage_of(annotation, cls.model_fields[name].metadata)
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is Literal:
        values: st.SearchStrategy[Any] = st.sampled_from(get_args(annotation))
    else:
        values = _STORED[storage] if storage else _SCALARS[annotation]
    return st.none() | values if nullable else values


def events_of(cls: type[Event], **given: st.SearchStrategy[Any]) -> st.SearchStrategy[Event]:
    """Events of one class; fields in `given` are drawn from those strategies."""
    strategies = {name: field_values(cls, name) for name in cls.model_fields if name != "kind"}
    strategies["source_position"] = st.none() | st.integers(0, 2**63 - 1)
    return st.builds(cls, **{**strategies, **given})


EVENTS: st.SearchStrategy[Event] = st.one_of([events_of(cls) for cls in EVENT_CLASSES])
