"""Goal: every event that was given to a writer is counted under one outcome, and the rows prove it.

Method: deliveries of every outcome are counted by hand and compared; then rows and ledger files are tampered
with.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.event_strategies import EVENTS as ANY_EVENTS
from tests.lake.facts import ended, reward, turn
from tracelake.lake import Lake
from tracelake.lake.landed.ledger import LONGEST, bucket_of
from tracelake.lake.layout import EVENTS, LEDGER, ledger_path
from tracelake.schemas.errors import CorruptFileError
from tracelake.schemas.events.event import Event
from tracelake.schemas.events.lake_events import EventRejected

SHORT = "under 1 KiB"


def rejection(index: int) -> EventRejected:
    return EventRejected(source_name="a.jsonl", line=index, reason="not JSON")


def test_every_outcome_is_counted_by_run_and_length(fresh_lake: Lake) -> None:
    long = turn(0, new_prompt_ids=list(range(4000)))
    with fresh_lake.writer("one") as writer:
        writer.append([reward(0), reward(1), long])
        writer.append([reward(0), reward(1, 0.5), rejection(1)])
        writer.count_lost(200)
    with fresh_lake.writer("two") as writer:
        writer.add([reward(0), ended(0)])
    found = fresh_lake.ledger()
    assert found.problems == []
    assert (found.closed_writers, found.cut_off_writers) == (2, 0)
    lines = {(line.run_id, line.bucket): tuple(line.model_dump().values())[2:] for line in found.lines}
    # given, landed, duplicate, conflict, rejected, lost, rows: the ConflictFound event has a row too.
    assert lines == {
        ("one", SHORT): (6, 2, 1, 1, 1, 1, 5),
        ("one", "4 to 16 KiB"): (1, 1, 0, 0, 0, 0, 1),
        ("two", SHORT): (2, 1, 1, 0, 0, 0, 1),
    }


@given(st.lists(st.lists(ANY_EVENTS, max_size=5), max_size=4), st.booleans())
@settings(max_examples=15)
def test_the_ledger_balances_for_any_delivery(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[Event]], spooled: bool
) -> None:
    lake = Lake.create(str(tmp_path_factory.mktemp("any") / "lake"))
    with lake.writer("run") as writer:
        for part in parts:
            writer.append(part) if spooled else writer.add(part)
    found = lake.ledger()
    assert found.problems == []
    assert sum(line.given for line in found.lines) == sum(map(len, parts))
    for line in found.lines:
        assert line.given == line.landed + line.duplicate + line.conflict + line.rejected + line.lost


def test_a_crashed_writer_has_rows_and_no_ledger_file(fresh_lake: Lake) -> None:
    writer = fresh_lake.writer("cut")
    writer.append([reward(0)])
    writer.flush()
    found = fresh_lake.ledger()
    assert (found.closed_writers, found.cut_off_writers, found.problems) == (0, 1, [])
    assert [(line.run_id, line.given, line.rows) for line in found.lines] == [("cut", 0, 1)]


def test_a_missing_row_is_reported(fresh_lake: Lake) -> None:
    for run in ("one", "two"):
        with fresh_lake.writer(run) as writer:
            writer.append([reward(len(run) if run == "one" else 9), turn(1 if run == "one" else 2)])
    paths = [Path(fresh_lake.uri) / path for path in fresh_lake.store.list(EVENTS)]
    paths[0].unlink()
    [problem] = fresh_lake.ledger().problems
    assert "2 events under 1 KiB are counted as landed and 1 have landed" in problem
    assert not fresh_lake.verify().ok


def test_a_ledger_file_that_does_not_add_up_or_is_damaged_is_reported(fresh_lake: Lake) -> None:
    with fresh_lake.writer("run") as writer:
        writer.append([reward(0)])
    [path] = [Path(fresh_lake.uri) / path for path in fresh_lake.store.list(LEDGER)]
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, "given": {SHORT: 2}}))
    [problem] = fresh_lake.ledger().problems
    assert "2 events under 1 KiB were given and 1 are counted" in problem
    path.write_text("{}")
    with pytest.raises(CorruptFileError, match="is damaged"):
        fresh_lake.ledger()
    path.write_text(json.dumps({**fields, "epoch": "another"}))
    with pytest.raises(CorruptFileError, match="expected the epoch in its name"):
        fresh_lake.ledger()
    assert ledger_path(fields["epoch"]).endswith(path.name)


@pytest.mark.parametrize("part", ["given", "counts"])
def test_a_ledger_file_with_an_unknown_length_bucket_is_damaged(fresh_lake: Lake, part: str) -> None:
    with fresh_lake.writer("one") as writer:
        writer.append([reward(0)])
    [path] = (Path(fresh_lake.uri) / "ledger").iterdir()
    fields = json.loads(path.read_text())
    fields[part] = {"undep 1 KiB": next(iter(fields[part].values()))}
    path.write_text(json.dumps(fields))
    with pytest.raises(CorruptFileError, match="no length bucket"):
        fresh_lake.ledger()
    assert not fresh_lake.verify().ok


@pytest.mark.parametrize(
    ("byte_count", "bucket"),
    [
        (None, "unmeasured"),
        (0, SHORT),
        (1023, SHORT),
        (1024, "1 to 4 KiB"),
        (65535, "16 to 64 KiB"),
        (65536, LONGEST),
    ],
)
def test_lengths_fall_into_buckets(byte_count: int | None, bucket: str) -> None:
    assert bucket_of(byte_count) == bucket
