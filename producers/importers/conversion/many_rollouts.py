"""Records that each contain several rollouts, such as an episode of several agents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tracelake.producers.importers.importer import (
    SHAPE_ERRORS,
    ImportedRollout,
    Refusal,
    refusal_of,
)
from tracelake.producers.importers.source import Source, SourceRecord

Part = TypeVar("Part")


def read_parts(
    source: Source,
    format: str,
    split: Callable[[SourceRecord], Iterable[Part]],
    convert: Callable[[Part], ImportedRollout | None],
) -> Iterator[ImportedRollout | Refusal]:
    """The rollouts of all parts of all records, or their refusals: a bad part costs itself. Null from
    `convert`: the part is no rollout."""
    for record in source.records():
        try:
            if record.error is not None:
                raise record.error
            parts = list(split(record))
        except SHAPE_ERRORS as error:
            yield refusal_of(error, line=record.position, data=record.data, format=format)
            continue
        for part in parts:
            try:
                found = convert(part)
            except SHAPE_ERRORS as error:
                yield refusal_of(error, line=record.position, data=record.data, format=format)
            else:
                if found is not None:
                    yield found
