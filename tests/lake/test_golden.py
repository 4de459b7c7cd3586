"""Goal: what any earlier version landed reads for ever as the events that it was.

Method: golden lakes, one per schema version, written once by `tests/golden/make.py`. A change that breaks one
of these tests needs a new SCHEMA_VERSION and an upcast, never another golden file.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tracelake.lake import Lake
from tracelake.lake.landed.reading import read_landed
from tracelake.lake.layout import kind_prefix
from tracelake.lake.stores.local_store import LocalStore
from tracelake.schemas.events.columns import arrow_schema, payload_columns
from tracelake.schemas.events.event import event_identity
from tracelake.schemas.events.kinds import CLASS_OF_KIND, parse_event

GOLDEN = Path(__file__).parents[1] / "golden"
VERSIONS = sorted(path.name for path in GOLDEN.iterdir() if path.name.startswith("v"))


def expected(version: str, kind: str) -> list[dict[str, Any]]:
    return json.loads((GOLDEN / version / "expected" / f"{kind}.json").read_text(encoding="utf-8"))


def kinds(version: str) -> list[str]:
    return list(json.loads((GOLDEN / version / "expected" / "schemas.json").read_text()))


CASES = [(version, kind) for version in VERSIONS for kind in kinds(version)]


@pytest.mark.parametrize(("version", "kind"), CASES)
def test_golden_files_read_as_the_events_that_were_written(version: str, kind: str) -> None:
    store = LocalStore(GOLDEN / version)
    cls = CLASS_OF_KIND[kind]
    rows = [row for path in store.list(kind_prefix(kind)) for row in read_landed(store, path).to_pylist()]
    for row, wanted in zip(rows, expected(version, kind), strict=True):
        fields = {name: row[name] for name in payload_columns(cls)}
        event = parse_event({**fields, "kind": kind})
        assert event == parse_event(
            {name: value for name, value in wanted.items() if name not in ("event_id", "key_hash")}
        )
        assert (row["event_id"], row["key_hash"]) == (wanted["event_id"], wanted["key_hash"])


@pytest.mark.parametrize(("version", "kind"), CASES)
def test_a_fact_of_the_current_schema_keeps_its_identity(version: str, kind: str) -> None:
    if int(version[1:]) != CLASS_OF_KIND[kind].SCHEMA_VERSION:
        return
    for wanted in expected(version, kind):
        ids = {name: wanted.pop(name) for name in ("event_id", "key_hash")}
        identity = event_identity(parse_event(wanted))
        assert {"event_id": identity.event_id, "key_hash": identity.key_hash} == ids


@pytest.mark.parametrize("kind", CLASS_OF_KIND)
def test_a_version_of_a_schema_changes_by_nullable_columns_only(kind: str) -> None:
    version = f"v{CLASS_OF_KIND[kind].SCHEMA_VERSION}"
    golden = json.loads((GOLDEN / version / "expected" / "schemas.json").read_text())[kind]
    now = {
        f"{field.name}: {field.type}{'' if field.nullable else ' not null'}" for field in arrow_schema(kind)
    }
    assert set(golden) <= now
    assert not [line for line in now - set(golden) if line.endswith("not null")]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_golden_lake_can_be_projected_pinned_and_audited(version: str, tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / version, tmp_path / "lake", ignore=shutil.ignore_patterns("expected"))
    lake = Lake.open(str(tmp_path / "lake"))
    assert lake.project() == dict.fromkeys(kinds(version), 3)
    pin = lake.pin("golden", lake.tables())
    assert lake.open_pin(pin.reference).pin == pin
    assert lake.verify(deep=True).problems == ()
