"""Goal: fingerprints give the same answer as reading the table.

Method: a table is looked up through fingerprints and read; other processes are played by other dataset
handles, whose commits do not update the fingerprints.
"""

from __future__ import annotations

import lance
import pyarrow as pa
import pytest

from tests.lake.facts import reward, table_ids
from tracelake.lake import Lake
from tracelake.lake.layout import table_path
from tracelake.lake.maintenance.merging import merge_fragments
from tracelake.lake.tables.commits import append_with_cursor, open_table
from tracelake.lake.tables.fingerprints import FILTER_VALUES_MAX, TableFingerprints, fingerprints_of, quoted
from tracelake.schemas.events.event import event_identity

KIND = "reward_assigned"


@pytest.fixture
def location(fresh_lake: Lake) -> str:
    with fresh_lake.writer("run") as writer:
        for index in range(6):
            writer.append([reward(index)])
            writer.flush()
            fresh_lake.project()
    return fresh_lake.store.location(table_path(KIND))


def names_of(indices: range) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    identities = [event_identity(reward(index)) for index in indices]
    return (
        pa.chunked_array([[each.event_id for each in identities]]),
        pa.chunked_array([[each.key_hash for each in identities]]),
    )


def known(fingerprints: TableFingerprints, location: str, indices: range = range(20)) -> set[str]:
    dataset = open_table(location)
    assert dataset is not None
    found = fingerprints.known_rows(dataset, *names_of(indices))
    assert set(found.first_of_key.values()) == found.event_ids
    return found.event_ids & {event_identity(reward(index)).event_id for index in indices}


def expected(*indices: int) -> set[str]:
    return {event_identity(reward(index)).event_id for index in indices}


def test_fingerprints_follow_commits_merges_and_deletions_of_others(location: str) -> None:
    fingerprints = TableFingerprints()
    assert known(fingerprints, location) == expected(*range(6))
    rows = lance.dataset(location).to_table()
    other = pa.table({**{name: rows[name] for name in rows.column_names}}).slice(0, 1)
    identity = event_identity(reward(9))
    other = other.set_column(other.schema.get_field_index("event_id"), "event_id", [[identity.event_id]])
    other = other.set_column(other.schema.get_field_index("key_hash"), "key_hash", [[identity.key_hash]])
    assert append_with_cursor(lance.dataset(location), other.cast(rows.schema), {}) is not None
    assert known(fingerprints, location) == expected(*range(6), 9)
    lance.dataset(location).optimize.compact_files()
    assert known(fingerprints, location) == expected(*range(6), 9)
    lance.dataset(location).delete(f"event_id = '{identity.event_id}'")
    assert known(fingerprints, location) == expected(*range(6))


def test_fingerprints_survive_a_merge_of_their_own_process(location: str) -> None:
    fingerprints = fingerprints_of(lance.dataset(location))
    assert known(fingerprints, location) == expected(*range(6))
    assert merge_fragments(lance.dataset(location))
    assert known(fingerprints, location) == expected(*range(6))


def test_a_rebuilt_table_is_read_again(fresh_lake: Lake, location: str) -> None:
    fingerprints = TableFingerprints()
    known(fingerprints, location)
    fresh_lake.rebuild([KIND])
    assert known(fingerprints, location) == expected(*range(6))


def test_many_ids_are_looked_up_as_few_are(fresh_lake: Lake, location: str) -> None:
    count = FILTER_VALUES_MAX + 10
    with fresh_lake.writer("more") as writer:
        writer.append([reward(index) for index in range(count)])
    fresh_lake.project()
    assert known(TableFingerprints(), location, range(count + 5)) == expected(*range(count))
    assert len(set(table_ids(fresh_lake, KIND))) == count


def test_quotes_in_a_value_do_not_end_a_filter() -> None:
    assert quoted(["a", "b' OR 1=1 --"]) == "'a', 'b'' OR 1=1 --'"
