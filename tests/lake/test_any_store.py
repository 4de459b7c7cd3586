"""Goal: a lake gives the same guarantees in every kind of store.

Method: tests of other files that depend on the store run again on a lake in memory and on one behind S3.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from tests.lake import test_lake
from tests.lake.pins import test_pins
from tests.lake.projection import test_project
from tests.lake.tables import test_derived
from tests.lake.writing import test_writer
from tests.producers.importers.samples import tau
from tracelake.lake import Lake
from tracelake.producers.importers.import_sources import import_sources
from tracelake.producers.importers.parallel_import import FILES_MIN

AGAIN = (
    test_lake.test_a_scan_reads_the_newest_version_a_version_or_a_pin,
    test_writer.test_a_second_delivery_is_all_duplicates_and_lands_nothing,
    test_writer.test_two_payloads_under_one_key_both_land_with_a_conflict,
    test_writer.test_an_envelope_names_run_writer_and_source,
    test_project.test_a_second_projection_adds_no_row_and_no_version,
    test_project.test_independent_writers_produce_each_event_once_and_one_conflict,
    test_project.test_a_commit_that_lost_its_race_changes_nothing,
    test_project.test_a_table_that_another_process_has_just_created_is_used,
    test_project.test_a_large_backlog_is_committed_in_batches,
    test_project.test_a_table_of_an_older_version_gets_new_columns_and_keeps_its_pins,
    test_derived.test_a_frame_is_read_back_unchanged_whatever_its_row_order,
    test_derived.test_only_a_change_creates_a_version,
    test_derived.test_a_missing_table_or_version_is_a_typed_error,
    test_derived.test_a_table_derived_by_racing_writers_has_the_rows_of_one_of_them,
    test_pins.test_a_pin_opens_unchanged_after_all_that_may_happen_to_a_lake,
    test_pins.test_the_same_contents_are_the_same_pin,
    test_pins.test_events_in_conflict_are_counted_and_left_out,
    test_pins.test_an_unknown_pin_and_an_unpinned_table_are_not_found,
    test_pins.test_a_number_with_a_tag_and_no_manifest_is_skipped,
)
globals().update({test.__name__: test for test in AGAIN})
pinned_lake = test_pins.pinned_lake


@pytest.fixture(params=["memory", "s3"])
def fresh_lake(request: pytest.FixtureRequest) -> Lake:
    """Replaces the local lake."""
    if request.param == "memory":
        return Lake.create(f"memory://{uuid.uuid4().hex}")
    return Lake.create(f"s3://{request.getfixturevalue('bucket')}/team.a/env=x_1-y")


def test_a_large_import_lands_all_files_in_any_store(fresh_lake: Lake, tmp_path: Path) -> None:
    for number in range(FILES_MIN):
        (tmp_path / f"{number}.json").write_text(json.dumps(tau()))
    report = import_sources(fresh_lake, [tmp_path])
    assert report.files == FILES_MIN
    assert sum(fresh_lake.project().values()) == report.new_events > FILES_MIN


class TestBehindS3:
    """Processes cannot share a lake in memory."""

    @pytest.fixture
    def fresh_lake(self, bucket: str) -> Lake:
        return Lake.create(f"s3://{bucket}/lake")

    test_racing_processes_bring_each_event_in_once = staticmethod(
        test_project.test_racing_projectors_and_writers_add_each_event_once
    )
