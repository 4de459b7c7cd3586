"""Which teacher answers may leave the lake: those whose terms allow training other models on them.

**Unknown terms count as a refusal.** A person who knows better names the teacher.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from tracelake.lake.pins.pins import OpenPin
from tracelake.schemas.errors import BadInputError

PAIR_TABLE = "training_rows"
TERM_COLUMNS = ("teacher", "teacher_model", "teacher_origin", "license", "distillable")


class TeacherTerms(NamedTuple):
    """Pairs of one teacher under one set of terms."""

    teacher: str
    teacher_model: str | None
    teacher_origin: str
    license: str | None
    distillable: bool | None
    """Null: unknown."""
    pair_count: int


class Terms:
    """The terms of all teachers of a pin, and the teachers whose answers were asked for by name."""

    def __init__(self, teachers: Sequence[TeacherTerms], included: Sequence[str] = ()) -> None:
        """Raises BadInputError for a name that no teacher of the pin has."""
        self.teachers = tuple(teachers)
        self._included = frozenset(included)
        known = {each.teacher for each in teachers}
        unknown = sorted(self._included - known)
        if unknown:
            raise BadInputError(
                "no teacher of the pin has this name",
                got=", ".join(unknown),
                expected=", ".join(sorted(known)) or "none: the pin has no pairs",
            )

    def allow(self, teacher: str, distillable: bool | None) -> bool:
        return distillable is True or teacher in self._included

    def withheld(self) -> list[TeacherTerms]:
        return [each for each in self.teachers if not self.allow(each.teacher, each.distillable)]

    def allowed(self) -> pl.Expr:
        """Of the rows of `training_rows`: those that may be exported."""
        return pl.col("distillable").fill_null(False) | pl.col("teacher").is_in(sorted(self._included))


def terms_of(pin: OpenPin, included: Sequence[str] = ()) -> Terms:
    """Raises BadInputError for an unknown teacher, and for pairs of a build that recorded no terms."""
    if PAIR_TABLE not in pin.pin.tables:
        return Terms((), included)
    frame = pin.scan(PAIR_TABLE)
    missing = set(TERM_COLUMNS) - set(frame.collect_schema().names())
    if missing:
        raise BadInputError(
            f"table {PAIR_TABLE} of pin {pin.pin.reference} says nothing about teachers",
            got=f"no {', '.join(sorted(missing))}",
            expected="a table of this version of tracelake",
            cure="Run `tracelake build`, pin the tables again, and export the new pin.",
        )
    counted = frame.group_by(TERM_COLUMNS).agg(pl.len().alias("pair_count")).collect()
    return Terms(
        [TeacherTerms(*row) for row in counted.sort(TERM_COLUMNS, nulls_last=True).iter_rows()], included
    )
