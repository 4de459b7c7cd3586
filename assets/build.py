"""Deriving tables in this process: what `tracelake build` does, and each Dagster asset for its one table.

Flow: project landed events → derive `turns` → harvest answers that rollouts give each other → derive the
rest.

**Inputs are resolved once** at the start of a derivation; what came out names the digest of each.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from tracelake.assets.derivations import DERIVED_TABLES, TABLE_OF_NAME, BuildParameters, DerivedTable
from tracelake.assets.inputs import InputTable, Quarantine, load_events, load_quarantine
from tracelake.lake import Lake
from tracelake.lake.tables.derived import Derivation
from tracelake.lake.writing.deduplicate import Origin, Receipt
from tracelake.producers.harvest import harvest
from tracelake.schemas.events.kinds import CLASS_OF_KIND
from tracelake.schemas.pin import PinnedTable

HARVEST_RUN = "harvest"
HARVEST_AFTER = "turns"

OnTable = Callable[[str, PinnedTable], None]


def build(lake: Lake, parameters: BuildParameters, on_table: OnTable | None = None) -> dict[str, PinnedTable]:
    """Derive every table from the events as they are now; states by name, in the order of derivation."""
    lake.project()
    quarantine = load_quarantine(lake)
    loaded: dict[str, InputTable] = {}
    states: dict[str, PinnedTable] = {}
    for table in DERIVED_TABLES:
        frame, states[table.name] = derive(lake, table, parameters, quarantine, loaded)
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
    quarantine: Quarantine,
    loaded: dict[str, InputTable] | None = None,
) -> tuple[pl.DataFrame, PinnedTable]:
    """One table; `loaded` holds frames of this build and is added to. Raises TableMissingError for an
    underived input.
    """
    loaded = {} if loaded is None else loaded
    for name in table.inputs:
        if name not in loaded:
            loaded[name] = load_input(lake, name, quarantine)
    frame = table.fold({name: loaded[name].frame for name in table.inputs}, parameters).sort(list(table.key))
    derivation = Derivation(
        key=table.key,
        code_version=table.code_version,
        inputs={name: loaded[name].digest for name in table.inputs},
        parameters={name: getattr(parameters, name) for name in table.parameters},
    )
    return frame, lake.derive(table.name, frame, derivation)


def load_input(lake: Lake, name: str, quarantine: Quarantine) -> InputTable:
    """An event table or a derived one as it is now, in key order."""
    if name in CLASS_OF_KIND:
        return load_events(lake, name, quarantine)
    with lake.lease(name) as version:
        frame = lake.scan(name, at=version).collect().sort(list(TABLE_OF_NAME[name].key))
        return InputTable(frame, lake.state(name, version).digest)


def harvest_answers(lake: Lake, turns: pl.DataFrame) -> Receipt:
    """Land what models that passed through the same state have to say to each other.

    Policies in training are left out: a teacher is frozen.
    """
    frozen = turns.filter(pl.col("policy_version_start").is_null())
    with lake.writer(HARVEST_RUN) as writer:
        return writer.append(harvest(frozen), Origin("derived"))
