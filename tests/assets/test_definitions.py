"""The Dagster definitions load, materialize the digests of a build, and check the stored tables."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from tests.traces import STUDENT, lake_of_rollouts
from tracelake.assets.build import build
from tracelake.assets.definitions import defs
from tracelake.assets.defs.lake_resource import LakeResource
from tracelake.assets.derivations import DERIVED_TABLES, BuildParameters
from tracelake.schemas.events.kinds import CLASS_OF_KIND


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return defs()


def run(definitions: dg.Definitions, uri: str) -> dg.ExecuteInProcessResult:
    assets = [asset for asset in definitions.assets or [] if isinstance(asset, dg.AssetsDefinition)]
    checks = list(definitions.asset_checks or [])
    resources = {"lake": LakeResource(uri=uri, student=STUDENT)}
    return dg.materialize([*assets, *checks], instance=dg.DagsterInstance.ephemeral(), resources=resources)


def test_every_event_and_derived_table_is_an_asset(definitions: dg.Definitions) -> None:
    keys = {key.to_user_string() for key in definitions.resolve_all_asset_keys()}
    assert set(CLASS_OF_KIND) | {table.name for table in DERIVED_TABLES} | {"harvested_answers"} == keys


def test_assets_materialize_the_digests_of_a_build_and_pass_their_checks(
    definitions: dg.Definitions, tmp_path: Path
) -> None:
    uri = str(tmp_path / "lake")
    built = build(lake_of_rollouts(str(tmp_path / "built")), BuildParameters(student=STUDENT))
    lake = lake_of_rollouts(uri)
    result = run(definitions, uri)
    assert result.success
    assert {name: lake.state(name).digest for name in built} == {
        name: state.digest for name, state in built.items()
    }
    checks = result.get_asset_check_evaluations()
    assert len(checks) == 2 * len(DERIVED_TABLES) + 3
    assert all(check.passed for check in checks)
    for name, state in built.items():
        materialization = result.asset_materializations_for_node(name)[0]
        assert materialization.tags is not None
        assert f"sha256:{state.digest}" in materialization.tags.values()
        assert materialization.metadata["dagster/row_count"].value == state.row_count
        assert "dagster/column_schema" in materialization.metadata
    assert "data:image/png" in str(result.asset_materializations_for_node("turns")[0].metadata["plot"].value)


def test_an_empty_folder_materializes_to_empty_tables(definitions: dg.Definitions, tmp_path: Path) -> None:
    assert run(definitions, str(tmp_path / "no-lake-yet")).success
