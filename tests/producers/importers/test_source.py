"""A source: every encoding and container becomes records, exactly, and a bad record costs only itself."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tracelake.producers.importers.content import Content
from tracelake.producers.importers.json_lines import json_lines
from tracelake.producers.importers.json_text import DOCUMENT_BYTES_MAX, parse_json
from tracelake.producers.importers.source import Source, read_source, source_of_bytes
from tracelake.schemas.errors import SourceFormatError

LINES = '{"a": "é\u2028"}\n\n{"b": 100000000000000000039}\n'


def source(data: bytes, uri: str = "runs/a.jsonl") -> Source:
    return source_of_bytes(uri, data)


def values(found: Source) -> list[Any]:
    return [record.value for record in found.records()]


@pytest.mark.parametrize(
    "data",
    [
        LINES.encode(),
        LINES.encode("utf-8-sig"),
        LINES.replace("\n", "\r\n").encode(),
        LINES.encode("utf-16"),
        b"\xfe\xff" + LINES.encode("utf-16-be"),
        LINES.encode("utf-16-le"),
        LINES.encode("utf-32"),
    ],
)
def test_encodings_and_integers_are_read_exactly(data: bytes):
    found = source(data)
    assert found.container == "jsonl"
    assert values(found) == [{"a": "é\u2028"}, {"b": 100000000000000000039}]
    assert [record.position for record in found.records()] == [1, 3]


@pytest.mark.parametrize("number", ["-9999999999999999999", "18446744073709551616", "1" + "0" * 400])
@pytest.mark.parametrize("padding", [0, 1, 2, 3, 4, 5, 500])
def test_integers_keep_their_digits_wherever_they_are(number: str, padding: int):
    text = json.dumps({"x": "y" * padding, "n": 0}).replace(": 0", f": {number}")
    assert parse_json(text.encode())["n"] == int(number)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"a": NaN}', "NaN at character 7"),
        (b'{"a": -Infinity}', "-Infinity at character 7"),
        (b'{"a": "\\ud83d"}', "lone surrogate \\\\ud83d at character 8"),
        (b'{"a": "\xff"}', "no UTF-8 at byte 8"),
        (b'{"a": "x\x00"}', "U+0000 at character 9"),
        (b'{"a": [1, 2', "ends at character 11"),
        (b'{"a": 1e999}', "beyond 1.8e308"),
        (b'{"a": ' + b"[" * 2000, "levels"),
    ],
)
def test_a_bad_line_costs_itself_and_says_what_is_wrong(bad: bytes, reason: str):
    records = list(source(b'{"a": 1}\n' + bad + b'\n{"b": 2}\n').records())
    assert [record.value for record in records] == [{"a": 1}, None, {"b": 2}]
    assert reason.replace("\\\\", "\\") in str(records[1].error)


def test_a_bad_element_of_a_list_costs_itself():
    found = source(b'[{"a": 1}, {"b": NaN}, {"c": 100000000000000000039}]')
    assert found.document is None
    assert found.first == {"a": 1}
    assert values(found) == [{"a": 1}, None, {"c": 100000000000000000039}]
    assert "NaN" in str(found.damage)


def test_a_torn_list_keeps_what_is_whole_and_refuses_the_rest():
    records = list(source(b'[{"a": 1}, {"b": 2}, {"c').records())
    assert [record.error is None for record in records] == [True, True, False]
    # An element behind which the list ends could be torn too.
    records = list(source(b'[{"a": 1}, {"b": 2}').records())
    assert [record.error is None for record in records] == [True, False]


def test_a_torn_document_is_no_json_lines():
    with pytest.raises(SourceFormatError, match="ends at character"):
        source(json.dumps({"a": {}, "b": [{}]}, indent=1).encode()[:-3])


def test_text_whose_values_take_too_much_memory_is_refused():
    with pytest.raises(SourceFormatError, match="too large to read whole"):
        source(b"[" + b"{}," * 10_000_000 + b"{}]")


def test_one_absurd_line_is_refused_alone():
    line = b'"' + b"x" * DOCUMENT_BYTES_MAX + b'"'
    lines = list(json_lines(Content(b'{"a": 1}\n' + line + b'\n{"b": 2}\n')))
    assert [(line.number, line.error is None) for line in lines] == [(1, True), (2, False), (3, True)]


def test_large_files_are_streamed(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n' * 10)
    with path.open("rb", buffering=0) as file:
        found = read_source("a.jsonl", Content(None, file, path.stat().st_size))  # type: ignore[arg-type]
        assert len(values(found)) == len(values(found)) == 10
        assert found.sha256() == source(path.read_bytes()).sha256()


def test_parquet_rows_become_json_values():
    table = pa.table({"n": [1.5, float("nan")], "m": [{"k": [1]}, None], "s": ["x", None]})
    file = io.BytesIO()
    pq.write_table(table, file)
    found = source(file.getvalue(), "a.parquet")
    assert found.container == "parquet"
    assert values(found) == [{"n": 1.5, "m": {"k": [1]}, "s": "x"}, {"n": None, "m": None, "s": None}]
    for cut in range(4, len(file.getvalue()), 97):
        with pytest.raises(SourceFormatError):
            source(file.getvalue()[:cut], "a.parquet")


def test_names_and_parts():
    found = source(LINES.encode(), "https://u:p@host/x/runs.tar.xz?token=1")
    assert found.uri == "https://host/x/runs.tar.xz"
    found = source(LINES.encode(), "/data/runs.tar.xz!run1/a/a.traj.json.gz")
    assert found.parts == ["data", "runs.tar.xz", "run1", "a", "a.traj.json"]
    assert (found.name, found.stem) == ("a.traj.json", "a")
    assert found.stable_name(3) == "run1/a/a.traj.json"
    assert found.sibling("../../etc/passwd") is None
