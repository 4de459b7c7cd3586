"""The lake as a Dagster resource, and the executor."""

from __future__ import annotations

import os

import dagster as dg

from tracelake.assets.derivations import BuildParameters
from tracelake.lake import Lake
from tracelake.schemas.errors import LakeMissingError

LAKE_VARIABLE = "TRACELAKE_LAKE"
STUDENT_VARIABLE = "TRACELAKE_STUDENT"
LAKE_DEFAULT = "lake-data"


class LakeResource(dg.ConfigurableResource):
    """The lake's address and the parameters of builds."""

    uri: str = LAKE_DEFAULT
    student: str = ""
    """Model whose actions are compared with the teachers'; empty: none."""
    min_teachers: int = 2

    def open(self) -> Lake:
        """Opens the lake, or creates an empty one, so that a fresh clone can materialize."""
        try:
            return Lake.open(self.uri)
        except LakeMissingError:
            return Lake.create(self.uri)

    def parameters(self) -> BuildParameters:
        return BuildParameters(student=self.student or None, min_teachers=self.min_teachers)


def resources() -> dg.Definitions:
    lake = LakeResource(
        uri=os.environ.get(LAKE_VARIABLE, LAKE_DEFAULT), student=os.environ.get(STUDENT_VARIABLE, "")
    )
    # Starting a process per table takes longer than deriving most tables.
    return dg.Definitions(resources={"lake": lake}, executor=dg.in_process_executor)
