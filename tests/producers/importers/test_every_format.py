"""What holds for every format: nothing is dropped in silence, whatever a source adds; whatever its bytes are,
an importer returns typed refusals or events that the lake accepts; and no torn record counts as whole."""

from __future__ import annotations

import copy
import json
import os
import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.producers.importers.samples import Sample, every_sample
from tracelake.producers.importers.format_registry import BUILT_IN
from tracelake.producers.importers.importer import ImportedRollout, ImportOptions, Refusal
from tracelake.producers.importers.losses import Losses
from tracelake.producers.importers.recognise import importer_for
from tracelake.producers.importers.source import source_of_bytes
from tracelake.schemas.errors import SourceFormatError
from tracelake.schemas.events.event import event_identity

SAMPLES = every_sample()
MUTATIONS = int(os.environ.get("TRACELAKE_MUTATIONS", "200"))
"""Per sample; `make mutations` tries many more."""
PLANTED = "planted_key_7f3a"
PLANTED_VALUE = "planted value 91c4"
ODD_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 2**70, 1.5, 1e308, "", "text", "\ud800", "\x00", "[" * 2000, '{"a": 1e400}', "../..",
    "assistant", "tool", [], [[]], [None], {}, {"": {}}, {"role": "assistant"}, [{"role": 3}],
)  # fmt: skip


def pieces_of(sample: Sample, value: Any) -> list[ImportedRollout | Refusal]:
    """The pieces of a changed sample; empty if no format claims it."""
    return pieces_of_bytes(sample, sample.encode(value))


def pieces_of_bytes(sample: Sample, data: bytes) -> list[ImportedRollout | Refusal]:
    try:
        source = source_of_bytes(sample.uri, data)
        importer = importer_for(source)
    except SourceFormatError:
        return []
    return list(importer.read(source, ImportOptions()))


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


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a JSON value."""
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, (*path, index))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def objects_of(value: Any) -> list[tuple[Any, ...]]:
    return [path for path in places(value) if isinstance(at(value, path), dict)]


def facts_of(piece: ImportedRollout) -> str:
    """Everything that its events say, as text."""
    return json.dumps([event.model_dump(mode="json") for event in piece.events])


def names_in(losses: Losses) -> str:
    return " ".join([path for path, _ in losses.dropped] + list(losses.extra) + list(losses.notes))


def test_every_format_has_a_sample():
    read = set()
    for sample in SAMPLES.values():
        read.add(importer_for(source_of_bytes(sample.uri, sample.encode(sample.value))).format)
    assert read == {importer.format for importer in BUILT_IN}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_is_imported_whole(name: str):
    sample = SAMPLES[name]
    pieces = pieces_of(sample, sample.value)
    assert pieces
    assert [piece for piece in pieces if isinstance(piece, Refusal)] == []
    assert_facts(pieces)
    losses = [piece.losses for piece in pieces if isinstance(piece, ImportedRollout)]
    assert {path: count for each in losses for path, count in each.extra.items()} == {}, "unknown keys"


@pytest.mark.parametrize("name", SAMPLES)
def test_a_planted_key_is_in_an_event_or_in_the_losses(name: str):
    sample = SAMPLES[name]
    missing = []
    for path in objects_of(sample.value):
        planted = copy.deepcopy(sample.value)
        at(planted, path)[PLANTED] = PLANTED_VALUE
        pieces = pieces_of(sample, planted)
        assert_facts(pieces)
        rollouts = [piece for piece in pieces if isinstance(piece, ImportedRollout)]
        found = any(PLANTED_VALUE in facts_of(piece) for piece in rollouts)
        listed = any(PLANTED in names_in(piece.losses) for piece in rollouts)
        if not found and not listed and not any(isinstance(piece, Refusal) for piece in pieces):
            missing.append(path)
    assert missing == []


@pytest.mark.parametrize("name", SAMPLES)
def test_the_same_record_again_has_the_same_events(name: str):
    sample = SAMPLES[name]
    elsewhere = sample._replace(uri=f"copies/elsewhere/{sample.uri}")
    first, again = pieces_of(sample, sample.value), pieces_of(elsewhere, sample.value)
    assert [piece.events for piece in first] == [piece.events for piece in again]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_without_one_key_is_imported_or_refused(name: str):
    sample = SAMPLES[name]
    for path in places(sample.value):
        if path and isinstance(path[-1], str):
            changed = copy.deepcopy(sample.value)
            del at(changed, path[:-1])[path[-1]]
            assert_facts(pieces_of(sample, changed))


@pytest.mark.parametrize("name", SAMPLES)
def test_mutated_samples_are_imported_or_refused(name: str):
    sample, chance = SAMPLES[name], random.Random(name)
    for _ in range(MUTATIONS):
        changed = copy.deepcopy(sample.value)
        for _ in range(chance.randint(1, 4)):
            path = chance.choice(list(places(changed)))
            if path:
                at(changed, path[:-1])[path[-1]] = copy.deepcopy(chance.choice(ODD_VALUES))
        assert_facts(pieces_of(sample, changed))


@pytest.mark.parametrize("name", SAMPLES)
def test_a_torn_file_is_refused_and_its_whole_records_are_not(name: str):
    sample, chance = SAMPLES[name], random.Random(name)
    data = sample.encode(sample.value)
    whole = [piece for piece in pieces_of_bytes(sample, data) if isinstance(piece, ImportedRollout)]
    cuts = {0, 1, len(data) - 2, *(chance.randrange(len(data)) for _ in range(MUTATIONS))}
    for cut in cuts:
        pieces = pieces_of_bytes(sample, data[:cut])
        assert_facts(pieces)
        for piece in pieces:
            if isinstance(piece, ImportedRollout):
                same = [other for other in whole if other.rollout_id == piece.rollout_id]
                if sample.is_one_recording and same:
                    assert all(event in same[0].events for event in piece.events[:-1]), f"cut at byte {cut}"
                    continue
                assert [other.events for other in same] == [piece.events], f"cut at byte {cut}"
