"""Goal: a cursor of any number of epochs adds little to a commit, and is the same in a note and in a file."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from tests.lake.facts import reward, table_ids
from tracelake.lake import Lake
from tracelake.lake.layout import CURSORS
from tracelake.lake.stores.memory_store import MemoryStore
from tracelake.lake.tables.commits import CURSOR, open_table, schema_note
from tracelake.lake.tables.cursors import EPOCHS_IN_NOTE_MAX, advance_note, read_cursor

KIND = "reward_assigned"
REACHED = st.lists(
    st.dictionaries(st.integers(0, 300).map("epoch-{:03d}".format), st.integers(0, 9), max_size=40),
    max_size=12,
)


@given(REACHED)
def test_a_cursor_is_the_same_in_the_note_and_in_a_file(reached: list[dict[str, int]]) -> None:
    store = MemoryStore(uuid.uuid4().hex)
    note: dict[str, int] = {}
    expected: dict[str, int] = {}
    for part in reached:
        advanced = advance_note(store, KIND, note, part)
        if advanced.obsolete_file is not None:
            store.delete(advanced.obsolete_file)
        note, expected = advanced.note, expected | part
        assert len(note) <= EPOCHS_IN_NOTE_MAX + 2
        assert read_cursor(store, KIND, note) == expected
    assert len(store.list(CURSORS)) <= 2


def test_a_lost_or_damaged_cursor_file_loses_no_event(fresh_lake: Lake) -> None:
    for index in range(EPOCHS_IN_NOTE_MAX + 2):
        with fresh_lake.writer("run") as writer:
            writer.append([reward(index)])
    fresh_lake.project()
    assert fresh_lake.verify(deep=True).ok
    [cursor_file] = fresh_lake.store.list(CURSORS)
    dataset = open_table(fresh_lake.store.location(f"tables/{KIND}.lance"))
    assert dataset is not None
    assert len(schema_note(dataset, CURSOR) or {}) == 1
    fresh_lake.store.delete(cursor_file)
    assert fresh_lake.project() == {KIND: 0}
    fresh_lake.store.delete(cursor_file)
    fresh_lake.store.put_new(cursor_file, b"{}")
    assert fresh_lake.project() == {KIND: 0}
    assert len(set(table_ids(fresh_lake, KIND))) == len(table_ids(fresh_lake, KIND)) == EPOCHS_IN_NOTE_MAX + 2
