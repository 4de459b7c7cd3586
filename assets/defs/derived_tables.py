"""Derived tables as assets with blocking checks, and the harvest, which lands events."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import polars as pl

from tracelake.assets.build import derive, harvest_answers, load_input
from tracelake.assets.defs.event_tables import HARVESTED
from tracelake.assets.defs.lake_resource import LakeResource
from tracelake.assets.defs.metadata import table_metadata
from tracelake.assets.derivations import DERIVED_TABLES, DerivedTable
from tracelake.lake.tables.derived import table_state

GROUPS = {
    "turns": "traces",
    "trajectories": "traces",
    "evaluations": "experiments",
    "exposures": "experiments",
    "spend": "experiments",
    "teacher_spend": "experiments",
}


def derived_table_asset(table: DerivedTable) -> dg.AssetsDefinition:
    @dg.asset(
        name=table.name,
        deps=list(table.inputs),
        group_name=GROUPS.get(table.name, "disagreement"),
        kinds={"polars", "lance"},
        code_version=table.code_version,
        description=f"Key: {', '.join(table.key)}.",
        owners=["team:lake"],
        check_specs=[
            _blocking(table, _key_check(table), "No two rows share a key."),
            _blocking(table, _rebuild_check(table), "Stored rows have the digest of the derived frame."),
        ],
    )
    def derived_table(lake: LakeResource) -> dg.MaterializeResult:
        return _materialized(table, lake)

    return derived_table


def _materialized(table: DerivedTable, lake: LakeResource) -> dg.MaterializeResult:
    opened = lake.open()
    selection = opened.selection()
    frame, state = derive(opened, table, lake.parameters(), selection)
    distinct = frame.select(pl.struct(list(table.key)).n_unique()).item() if frame.height else 0
    stored = table_state(opened.store, table.name, state.version, recompute=True)
    return dg.MaterializeResult(
        metadata={
            **table_metadata(table.name, opened.uri, frame, state, table.plot_column),
            **{f"rollouts_left_out_{why}": count for why, count in selection.counts().items()},
        },
        data_version=dg.DataVersion(f"sha256:{state.digest}"),
        check_results=[
            _checked(_key_check(table), distinct == frame.height, distinct_keys=distinct),
            _checked(_rebuild_check(table), stored.digest == state.digest, digest=stored.digest),
        ],
    )


def _key_check(table: DerivedTable) -> str:
    return f"{table.name}_key_is_unique"


def _rebuild_check(table: DerivedTable) -> str:
    return f"{table.name}_rebuilds_identically"


def _blocking(table: DerivedTable, name: str, description: str) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(name, asset=table.name, blocking=True, description=description)


def _checked(name: str, passed: bool, **metadata: int | str) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=passed, check_name=name, metadata=metadata)


@dg.asset(name=HARVESTED, deps=["turns"], group_name="events", owners=["team:lake"])
def harvested_answers(lake: LakeResource) -> dg.MaterializeResult:
    """Actions of other models at the same state, landed as teacher answers."""
    opened = lake.open()
    turns = load_input(opened, "turns", opened.selection()).frame
    receipt = harvest_answers(opened, turns)
    return dg.MaterializeResult(metadata={"new": receipt.new_count, "known": receipt.duplicate_count})


@dg.asset_check(asset="turns", blocking=True)
def turns_have_a_rollout(lake: LakeResource) -> dg.AssetCheckResult:
    """Every turn belongs to a rollout that started."""
    opened = lake.open()
    orphans = opened.scan("turns").filter(pl.col("task_key").is_null()).select(pl.len()).collect().item()
    return dg.AssetCheckResult(passed=orphans == 0, metadata={"orphans": orphans})


@dg.asset_check(asset="preference_pairs", blocking=True)
def pairs_are_not_degenerate(lake: LakeResource) -> dg.AssetCheckResult:
    """Chosen and rejected differ, and each pair has a positive vote margin."""
    pairs = lake.open().scan("preference_pairs")
    bad = pairs.filter((pl.col("chosen_json") == pl.col("rejected_json")) | (pl.col("vote_margin") <= 0))
    count = bad.select(pl.len()).collect().item()
    return dg.AssetCheckResult(passed=count == 0, metadata={"degenerate": count})


@dg.asset_check(asset="training_rows", blocking=True)
def every_pair_has_its_row(lake: LakeResource) -> dg.AssetCheckResult:
    """Training rows and pairs are the same set."""
    opened = lake.open()
    pairs, rows = (set(_ids(opened.scan(name))) for name in ("preference_pairs", "training_rows"))
    return dg.AssetCheckResult(passed=pairs == rows, metadata={"pairs": len(pairs), "rows": len(rows)})


def _ids(table: pl.LazyFrame) -> Iterator[str]:
    yield from table.select("pair_id").collect()["pair_id"]


def derived_tables() -> dg.Definitions:
    return dg.Definitions(
        assets=[*(derived_table_asset(table) for table in DERIVED_TABLES), harvested_answers],
        asset_checks=[turns_have_a_rollout, pairs_are_not_degenerate, every_pair_has_its_row],
    )
