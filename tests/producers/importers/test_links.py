"""Links, pipes and devices in a folder: nothing hangs, nothing outside is read, nothing is read twice."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

import fsspec
import pytest

from tests.producers.importers.samples import swe
from tracelake.lake import Lake
from tracelake.producers.importers.find_files import find_files
from tracelake.producers.importers.import_sources import import_sources

SECONDS_MAX = 10


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    """Not the folder of the lake."""
    folder = tmp_path / "traces"
    folder.mkdir()
    return folder


def test_pipes_sockets_and_devices_are_named_and_never_opened(fresh_lake: Lake, traces: Path):
    (traces / "good.traj").write_text(json.dumps(swe()))
    os.mkfifo(traces / "pipe.json")
    (traces / "zero.json").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(traces / "socket.json"))
        started = time.monotonic()
        report = import_sources(fresh_lake, [traces])
        followed = import_sources(fresh_lake, [traces], follow_links=True)
        alone = import_sources(fresh_lake, [traces / "pipe.json"])
        assert time.monotonic() - started < SECONDS_MAX
    assert report.rollouts == followed.rollouts == 1
    assert {Path(each.path).name: each.reason.split(";")[0] for each in report.unread} == {
        "pipe.json": "a named pipe",
        "socket.json": "a socket",
        "zero.json": "a link out of the given folder",
    }
    assert {each.reason.split(";")[0] for each in followed.unread} == {"a named pipe", "a socket", "a device"}
    assert [each.path for each in alone.unread] == [str(traces / "pipe.json")]


def test_links_within_the_folder_are_followed_once(traces: Path):
    (traces / "blobs").mkdir()
    (traces / "blobs" / "1f0c").write_text("{}")
    (traces / "run.json").symlink_to("blobs/1f0c")
    (traces / "again.json").symlink_to("run.json")
    (traces / "blobs" / "cycle").symlink_to(traces)
    (traces / "latest").symlink_to("blobs")
    search = find_files([traces])
    assert [file.may_be_trace for file in search.files] == [True]
    assert search.unread == []


def test_a_link_out_of_the_folder_is_named_and_read_only_if_asked_for(fresh_lake: Lake, traces: Path):
    (traces / "outside").mkdir()
    (traces / "outside" / "a.traj").write_text(json.dumps(swe()))
    (traces / "outside" / "secret.json").write_text("secret words")
    folder = traces / "given"
    folder.mkdir()
    (folder / "file.json").symlink_to(traces / "outside" / "secret.json")
    (folder / "folder").symlink_to(traces / "outside")
    (folder / "broken.json").symlink_to("nowhere")
    report = import_sources(fresh_lake, [folder])
    assert (report.rollouts, report.refused) == (0, [])
    assert {Path(each.path).name for each in report.unread} == {"file.json", "folder", "broken.json"}
    assert "--follow-links" in report.unread[1].reason
    assert "secret words" not in report.model_dump_json()
    assert import_sources(fresh_lake, [folder], follow_links=True).rollouts == 1


def test_a_file_of_holes_is_refused(fresh_lake: Lake, traces: Path):
    with (traces / "holes.jsonl").open("wb") as file:
        file.truncate(2**40)
    report = import_sources(fresh_lake, [traces])
    assert "almost all holes" in report.refused[0].reason


def test_addresses_lose_their_credentials(fresh_lake: Lake, traces: Path):
    memory = fsspec.filesystem("memory")
    memory.pipe("/links/run/one.traj", json.dumps(swe()).encode())
    report = import_sources(fresh_lake, ["memory://links/run"])
    assert report.file_reports[0].path == "memory:///links/run/one.traj"
    missing = "http://user:hunter2@127.0.0.1:9/x.json?X-Amz-Signature=abcdef0123"
    report = import_sources(fresh_lake, [missing, "memory://links/run"])
    shown = report.model_dump_json()
    assert "127.0.0.1" in shown
    assert "hunter2" not in shown
    assert "abcdef0123" not in shown
