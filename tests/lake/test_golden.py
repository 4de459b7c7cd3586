"""Goal: landed files of any released format read for ever as the events that were written.

Method: golden lakes, one per format, written by `tests/golden/write.py`. Format 2 may be written anew until
its release. After that, a change that breaks one of these tests needs a new SCHEMA_VERSION and an upcast.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.golden.write import schema_lines
from tracelake.lake import Lake
from tracelake.lake.landed.reading import read_landed
from tracelake.lake.layout import FORMAT_VERSION, kind_prefix
from tracelake.lake.stores.local_store import LocalStore
from tracelake.schemas.events.columns import arrow_schema, payload_columns
from tracelake.schemas.events.event import event_identity
from tracelake.schemas.events.kinds import CLASS_OF_KIND, parse_event

GOLDEN = Path(__file__).parents[1] / "golden"
FORMATS = sorted(path.name for path in GOLDEN.glob("format_*"))


def expected(format: str, kind: str) -> list[dict[str, Any]]:
    return json.loads((GOLDEN / format / "expected" / f"{kind}.json").read_text(encoding="utf-8"))


def schemas(format: str) -> dict[str, dict[str, Any]]:
    """Schema version and columns of each kind when the lake was written."""
    return json.loads((GOLDEN / format / "expected" / "schemas.json").read_text(encoding="utf-8"))


CASES = [(format, kind) for format in FORMATS for kind in schemas(format)]
UNCHANGED = [
    (format, kind)
    for format, kind in CASES
    if kind in CLASS_OF_KIND and schemas(format)[kind]["schema_version"] == CLASS_OF_KIND[kind].SCHEMA_VERSION
]
"""Kinds whose schema version is still the one of the golden lake."""


def test_the_current_format_has_golden_files_of_every_kind() -> None:
    assert schemas(f"format_{FORMAT_VERSION}").keys() == CLASS_OF_KIND.keys()


@pytest.mark.parametrize(("format", "kind"), CASES)
def test_golden_files_read_as_the_events_that_were_written(format: str, kind: str) -> None:
    store = LocalStore(GOLDEN / format)
    cls = CLASS_OF_KIND[kind]
    rows = [row for path in store.list(kind_prefix(kind)) for row in read_landed(store, path).to_pylist()]
    for row, wanted in zip(rows, expected(format, kind), strict=True):
        fields = {name: row[name] for name in payload_columns(cls)}
        event = parse_event({**fields, "kind": kind})
        assert event == parse_event(
            {name: value for name, value in wanted.items() if name not in ("event_id", "key_hash")}
        )
        assert (row["event_id"], row["key_hash"]) == (wanted["event_id"], wanted["key_hash"])


@pytest.mark.parametrize(("format", "kind"), UNCHANGED)
def test_an_event_of_an_unchanged_schema_version_keeps_its_identity(format: str, kind: str) -> None:
    for wanted in expected(format, kind):
        ids = {name: wanted.pop(name) for name in ("event_id", "key_hash")}
        identity = event_identity(parse_event(wanted))
        assert {"event_id": identity.event_id, "key_hash": identity.key_hash} == ids


@pytest.mark.parametrize(("format", "kind"), UNCHANGED)
def test_within_a_schema_version_only_nullable_columns_are_added(format: str, kind: str) -> None:
    golden = set(schemas(format)[kind]["columns"])
    now = set(schema_lines(arrow_schema(kind)))
    assert golden <= now
    assert not [line for line in now - golden if line.endswith("not null")]


@pytest.mark.parametrize("format", FORMATS)
def test_a_golden_lake_can_be_projected_pinned_and_audited(format: str, tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / format, tmp_path / "lake", ignore=shutil.ignore_patterns("expected"))
    lake = Lake.open(str(tmp_path / "lake"))
    assert lake.project() == dict.fromkeys(schemas(format), 3)
    pin = lake.pin("golden", lake.tables())
    assert lake.open_pin(pin.reference).pin == pin
    assert lake.verify(deep=True).problems == ()
