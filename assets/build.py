"""Derive tables in this process: all of them for `tracelake build`, one for each Dagster asset.

Flow: project landed events → derive `turns` → harvest answers that rollouts give each other → derive the
rest.

**Inputs are resolved once** at the start of a derivation; the derived table records the digest of each.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from tracelake.assets.derivations import DERIVED_TABLES, TABLE_OF_NAME, BuildParameters, DerivedTable
from tracelake.assets.inputs import InputTable, load_events
from tracelake.lake import Lake
from tracelake.lake.curation.selection import Selection
from tracelake.lake.tables.derived import Derivation
from tracelake.lake.writing.deduplicate import Origin, Receipt
from tracelake.producers.harvest import harvest
from tracelake.schemas.events.kinds import CLASS_OF_KIND
from tracelake.schemas.pin import PinnedTable

HARVEST_RUN = "harvest"
HARVEST_AFTER = "turns"

OnTable = Callable[[str, PinnedTable], None]
OnSelection = Callable[[Selection], None]


def build(
    lake: Lake,
    parameters: BuildParameters,
    on_table: OnTable | None = None,
    on_selection: OnSelection | None = None,
) -> dict[str, PinnedTable]:
    """Derive every table from the current events. Returns states by name, in the order of derivation.

    `on_selection` learns first which rollouts no table will contain, and why."""
    lake.project()
    selection = lake.selection()
    if on_selection is not None:
        on_selection(selection)
    loaded: dict[str, InputTable] = {}
    states: dict[str, PinnedTable] = {}
    for table in DERIVED_TABLES:
        frame, states[table.name] = derive(lake, table, parameters, selection, loaded)
        loaded[table.name] = InputTable(frame, states[table.name].digest)
        if table.name == HARVEST_AFTER and harvest_answers(lake, frame).new_count:
            lake.project()
        if on_table is not None:
            on_table(table.name, states[table.name])
    return states


def derive(
    lake: Lake,
    table: DerivedTable,
    parameters: BuildParameters,
    selection: Selection,
    loaded: dict[str, InputTable] | None = None,
) -> tuple[pl.DataFrame, PinnedTable]:
    """Derive one table. `loaded` caches the inputs of this build and is extended.

    Raises: TableMissingError if an input is not derived yet.
    """
    loaded = {} if loaded is None else loaded
    for name in table.inputs:
        if name not in loaded:
            loaded[name] = load_input(lake, name, selection)
    inputs = [loaded[name].frame for name in table.inputs]
    settings = {name: getattr(parameters, name) for name in table.parameters}
    frame = table.fold(*inputs, **settings).sort(list(table.key))
    derivation = Derivation(
        key=table.key,
        code_version=table.code_version,
        inputs={name: loaded[name].digest for name in table.inputs},
        parameters=settings,
    )
    return frame, lake.derive(table.name, frame, derivation)


def load_input(lake: Lake, name: str, selection: Selection) -> InputTable:
    """The newest version of an event table or a derived table; a derived one in key order."""
    if name in CLASS_OF_KIND:
        return load_events(lake, name, selection)
    with lake.lease(name) as version:
        frame = lake.scan(name, at=version).collect().sort(list(TABLE_OF_NAME[name].key))
        return InputTable(frame, lake.state(name, version).digest)


def harvest_answers(lake: Lake, turns: pl.DataFrame) -> Receipt:
    """Land each model's actions as teacher answers to other models at the same state.

    Policies in training are left out, because a teacher is frozen.
    """
    frozen = turns.filter(pl.col("policy_version_start").is_null())
    with lake.writer(HARVEST_RUN) as writer:
        return writer.append(harvest(frozen), Origin("derived"))
