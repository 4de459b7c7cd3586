"""The definitions that `dg dev` opens: event tables, derived tables and their lake."""

from __future__ import annotations

from dagster import Definitions, definitions

from tracelake.assets.defs.derived_tables import derived_tables
from tracelake.assets.defs.event_tables import event_tables
from tracelake.assets.defs.lake_resource import resources


@definitions
def defs() -> Definitions:
    return Definitions.merge(event_tables(), derived_tables(), resources())
