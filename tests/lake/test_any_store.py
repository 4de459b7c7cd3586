"""Goal: a lake keeps its promises wherever it lies.

Method: tests of other files that rest on the store, once more on a lake in memory and on one behind S3.
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
    test_lake.test_a_scan_is_of_now_of_a_version_or_of_a_pin,
    test_writer.test_a_second_delivery_is_all_duplicates_and_lands_nothing,
    test_writer.test_two_payloads_under_one_key_both_land_with_a_conflict,
    test_writer.test_an_envelope_names_run_writer_and_source,
    test_project.test_a_second_projection_adds_nothing_and_makes_no_version,
    test_project.test_writers_that_did_not_see_each_other_leave_a_duplicate_once_and_a_conflict_told_once,
    test_project.test_a_commit_that_lost_its_race_changes_nothing,
    test_project.test_an_empty_table_that_another_process_has_just_made_is_taken,
    test_project.test_a_large_backlog_comes_in_by_pieces_that_make_the_same_table,
    test_project.test_a_table_that_an_older_version_made_is_widened_and_keeps_its_pins,
    test_derived.test_a_frame_comes_back_as_it_was_whatever_the_order_of_its_rows,
    test_derived.test_only_a_change_makes_a_version,
    test_derived.test_a_table_or_version_that_is_not_there_is_a_typed_error,
    test_derived.test_a_table_that_several_derive_at_once_is_what_one_of_them_said,
    test_pins.test_a_pin_opens_the_same_after_all_that_may_happen_to_a_lake,
    test_pins.test_the_same_contents_are_the_same_pin,
    test_pins.test_events_in_conflict_are_counted_and_left_out,
    test_pins.test_a_pin_or_a_table_that_was_not_pinned_is_not_found,
    test_pins.test_a_number_whose_tag_was_left_without_a_manifest_is_passed_over,
)
globals().update({test.__name__: test for test in AGAIN})
pinned_lake = test_pins.pinned_lake


@pytest.fixture(params=["memory", "s3"])
def fresh_lake(request: pytest.FixtureRequest) -> Lake:
    """In place of the local one."""
    if request.param == "memory":
        return Lake.create(f"memory://{uuid.uuid4().hex}")
    return Lake.create(f"s3://{request.getfixturevalue('bucket')}/team.a/env=x_1-y")


def test_an_import_of_so_many_files_that_a_local_lake_takes_two_processes_lands_all(
    fresh_lake: Lake, tmp_path: Path
) -> None:
    for number in range(FILES_MIN):
        (tmp_path / f"{number}.json").write_text(json.dumps(tau()))
    report = import_sources(fresh_lake, [tmp_path])
    assert report.files == FILES_MIN
    assert sum(fresh_lake.project().values()) == report.new_events > FILES_MIN


class TestBehindS3:
    """Processes do not share a lake in memory."""

    @pytest.fixture
    def fresh_lake(self, bucket: str) -> Lake:
        return Lake.create(f"s3://{bucket}/lake")

    test_racing_processes_bring_each_event_in_once = staticmethod(
        test_project.test_projectors_and_writers_that_race_in_processes_bring_each_event_in_once
    )
