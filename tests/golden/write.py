"""Writes the golden lake of the current format: landed files of every kind, and the events that they hold.

**Format 2 is not frozen before its release**: until then, `python -m tests.golden.write` writes its folder
anew after a change of a schema or of the landed files. From the release on, nobody edits a golden file, and
`tests/lake/test_golden.py` reads them with every later version of the code.
"""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from tracelake.lake import Lake
from tracelake.lake.landed.writing import land, landed_file
from tracelake.lake.layout import FORMAT_VERSION, REDACTION_KEY
from tracelake.lake.stores.local_store import LocalStore
from tracelake.lake.writing.rows import EventRow, event_rows_to_table
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.events.columns import arrow_schema
from tracelake.schemas.events.event import Event, event_identity
from tracelake.schemas.events.kinds import EVENT_CLASSES

FOLDER = Path(__file__).parent / f"format_{FORMAT_VERSION}"
RECORDED_AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
ORDINARY: dict[str, Any] = {
    "string": "ordinary text",
    "large_string": '{"a":[1,2.5,null]}',
    "int64": 41,
    "double": 0.1,
    "bool": True,
    "timestamp[us, tz=UTC]": RECORDED_AT,
    "list<item: int32>": [1, 2, 3],
    "list<item: float>": [-0.25, -1.5, 0.0],
    "list<item: bool>": [True, False],
}
UNUSUAL: dict[str, Any] = {
    "string": "é 日本 \U0001f600 \u2028\n",
    "large_string": "",
    "int64": 2**53 + 1,
    "double": 0.00005,
    "bool": False,
    "timestamp[us, tz=UTC]": datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    "list<item: int32>": [],
    "list<item: float>": [],
    "list<item: bool>": [],
}


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    Lake.create(str(FOLDER))
    # A random secret: no golden event was redacted, and a repository must not contain a key.
    (FOLDER / REDACTION_KEY).unlink()
    (FOLDER / "expected").mkdir()
    schemas: dict[str, dict[str, Any]] = {}
    for cls in EVENT_CLASSES:
        _write_kind(LocalStore(FOLDER), cls)
        columns = schema_lines(arrow_schema(cls.KIND))
        schemas[cls.KIND] = {"schema_version": cls.SCHEMA_VERSION, "columns": columns}
    schemas_file = FOLDER / "expected" / "schemas.json"
    schemas_file.write_text(json.dumps(schemas, indent=1) + "\n", encoding="utf-8")


def golden_events(cls: type[Event]) -> list[Event]:
    """One event with the required fields only, one with all fields, one with unusual values."""
    schema = arrow_schema(cls.KIND)
    names = [name for name in cls.model_fields if name != "kind"]
    required = [name for name in names if cls.model_fields[name].is_required()]
    return [
        _event(cls, schema, required, ORDINARY, suffix=" a"),
        _event(cls, schema, names, ORDINARY, suffix=" b"),
        _event(cls, schema, names, UNUSUAL, suffix=" c"),
    ]


def schema_lines(schema: pa.Schema) -> list[str]:
    """Name, type and nullability of each column."""
    return [f"{field.name}: {field.type}{'' if field.nullable else ' not null'}" for field in schema]


def _event(
    cls: type[Event], schema: pa.Schema, names: list[str], values: dict[str, Any], *, suffix: str
) -> Event:
    fields: dict[str, Any] = {}
    for name in names:
        value = values[str(schema.field(name).type)]
        choices = _choices(cls, name)
        if choices:
            value = choices[0] if values is ORDINARY else choices[-1]
        elif name in cls.KEY and name.endswith("_json"):
            value = canonical_text([suffix])
        elif name in cls.KEY and isinstance(value, str):
            value += suffix
        fields[name] = value
    return cls(**fields)


def _choices(cls: type[Event], name: str) -> list[Any]:
    """The values of a `Literal` field; empty for any other."""
    schema = cls.model_json_schema()["properties"][name]
    options = [schema, *schema.get("anyOf", [])]
    return next((option["enum"] for option in options if "enum" in option), [])


def _write_kind(store: LocalStore, cls: type[Event]) -> None:
    events = golden_events(cls)
    identities = [event_identity(event) for event in events]
    rows = [
        EventRow(event, identity, "imported", "golden/source.jsonl", "0" * 64)
        for event, identity in zip(events, identities, strict=True)
    ]
    epoch = f"20260102T030405678901-{cls.KIND.replace('_', '-')}"
    table = event_rows_to_table(cls.KIND, rows, 0, run_id="golden", epoch=epoch, recorded_at=RECORDED_AT)
    land(store, landed_file(table))
    expected = [
        {"event_id": identity.event_id, "key_hash": identity.key_hash} | event.model_dump(mode="json")
        for event, identity in zip(events, identities, strict=True)
    ]
    lines = ",\n".join(map(canonical_text, expected))
    (FOLDER / "expected" / f"{cls.KIND}.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
