"""Event tables as assets: materializing one projects its landed files."""

from __future__ import annotations

import dagster as dg

from tracelake.assets.defs.lake_resource import LakeResource
from tracelake.schemas.errors import TableMissingError
from tracelake.schemas.events.kinds import CLASS_OF_KIND

HARVESTED = "harvested_answers"
# Harvested answers land before the table of all teacher answers is projected.
DEPENDENCIES = {"teacher_answered": [HARVESTED]}


def event_table_asset(kind: str) -> dg.AssetsDefinition:
    description = (CLASS_OF_KIND[kind].__doc__ or "").strip()

    @dg.asset(
        name=kind,
        group_name="events",
        kinds={"lance"},
        description=description,
        deps=DEPENDENCIES.get(kind, []),
        owners=["team:lake"],
    )
    def event_table(lake: LakeResource) -> dg.MaterializeResult:
        opened = lake.open()
        added = opened.project([kind]).get(kind, 0)
        try:
            state = opened.state(kind)
        except TableMissingError:
            return dg.MaterializeResult(
                metadata={"dagster/row_count": 0}, data_version=dg.DataVersion("empty")
            )
        metadata = {
            "dagster/row_count": state.row_count,
            "rows_added": added,
            "lance_version": state.version,
            "digest": state.digest,
            "dagster/uri": f"{opened.uri}/tables/{kind}.lance",
        }
        return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(f"sha256:{state.digest}"))

    return event_table


def event_tables() -> dg.Definitions:
    return dg.Definitions(assets=[event_table_asset(kind) for kind in CLASS_OF_KIND])
