"""Whatever the bytes are, an importer returns typed refusals or events that the lake accepts."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.producers.importers.samples import SAMPLES, mini_text, read_document, swe
from tracelake.producers.importers.importer import SHAPE_ERRORS, ImportedRollout, ImportOptions, Refusal
from tracelake.producers.importers.recognise import importer_for
from tracelake.producers.importers.source import source_of_bytes
from tracelake.schemas.errors import SourceFormatError
from tracelake.schemas.events.event import event_identity

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        ["", "\ud800", "[" * 2000, '{"a": 1e400}', "\x00", "../..", "assistant", "tool", "user", "exit"]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a JSON value."""
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    return [path, *(found for key, inner in items for found in paths_of(inner, (*path, key)))]


def mutated(document: Any, changes: list[tuple[int, Any]]) -> Any:
    """The document with some values replaced, or deleted by the value `DELETE`."""
    result = copy.deepcopy(document)
    for number, value in changes:
        places = [path for path in paths_of(result) if path]
        if not places:
            break
        *above, key = places[number % len(places)]
        holder = result
        for name in above:
            holder = holder[name]
        if value == "DELETE":
            del holder[key]
        else:
            holder[key] = copy.deepcopy(value)
    return result


def assert_facts(pieces: list[ImportedRollout | Refusal]) -> None:
    """Every event is valid for its class, has an identity, and a key that is unique within its rollout."""
    for piece in pieces:
        if isinstance(piece, Refusal):
            assert piece.reason.encode()
            assert (piece.excerpt or "").isascii()
            continue
        keys = set()
        for event in piece.events:
            assert type(event).model_validate(event.__dict__, strict=True) == event
            keys.add(event_identity(event).key_hash)
        assert len(keys) == len(piece.events)


def read_any(data: bytes) -> list[ImportedRollout | Refusal]:
    """The pieces of arbitrary bytes; empty if they are no trace."""
    try:
        found = source_of_bytes("a/b/c/trace.json", data)
        importer = importer_for(found)
    except SourceFormatError:
        return []
    return list(importer.read(found, ImportOptions()))


CHANGES = st.lists(st.tuples(st.integers(0, 10_000), VALUES | st.just("DELETE")), min_size=1, max_size=4)


@pytest.mark.parametrize("format", [*SAMPLES, "mini-text"])
@given(changes=CHANGES)
def test_mutated_records_are_imported_or_refused(format: str, changes: list[tuple[int, Any]]):
    document = mutated(SAMPLES.get(format) or mini_text(), changes)
    assert_facts(read_any(json.dumps(document).encode("utf-8", "surrogatepass")))
    rows = "\n".join(json.dumps(row) for row in (document, SAMPLES["verifiers"]))
    assert_facts(read_any(rows.encode("utf-8", "surrogatepass")))


@given(number=st.integers(0, 10_000), value=VALUES)
def test_mutated_queries_are_imported_or_refused(number: int, value: Any):
    document = swe()
    for entry in document["trajectory"]:
        entry["query"] = document["history"][:2]
    assert_facts(read_any(json.dumps(mutated(document, [(number, value)])).encode("utf-8", "surrogatepass")))


@given(data=st.binary(max_size=200))
def test_any_bytes_are_imported_or_refused(data: bytes):
    assert_facts(read_any(data))


@given(format=st.sampled_from(list(SAMPLES)), cut=st.integers(0, 4000), junk=st.binary(max_size=4))
def test_damaged_files_are_imported_or_refused(format: str, cut: int, junk: bytes):
    whole = json.dumps(SAMPLES[format]).encode()
    assert_facts(read_any(whole[:cut] + junk + whole[cut + len(junk) :]))
    assert_facts(read_any(whole[:cut]))


def test_the_samples_themselves_are_imported():
    for document in [*SAMPLES.values(), mini_text()]:
        pieces = read_document(document)
        assert all(isinstance(piece, ImportedRollout) for piece in pieces)
        assert_facts(pieces)


def test_shape_errors_do_not_include_errors_that_the_data_did_not_cause():
    # Data decide how much memory they take.
    assert issubclass(MemoryError, SHAPE_ERRORS)
    assert not issubclass(AssertionError, SHAPE_ERRORS)
    assert not issubclass(KeyboardInterrupt, SHAPE_ERRORS)
