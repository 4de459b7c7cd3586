"""Archives and compressed files are read without unpacking, and bombs are refused by name."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from tests.producers.importers.samples import mini, swe, verifiers_row
from tracelake.lake import Lake
from tracelake.producers.importers.import_sources import import_sources
from tracelake.producers.importers.report import ImportReport

ZEROS = bytes(200 * 2**20)
SECONDS_MAX = 10


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    """Not the folder of the lake."""
    folder = tmp_path / "traces"
    folder.mkdir()
    return folder


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


def tar_of(members: dict[str, bytes], mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def zip_of(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


RUN = {
    "run1/a/a.traj.json": json.dumps(mini()).encode(),
    "run1/one.traj": json.dumps(swe()).encode(),
    "run1/README": b"text",
}


@pytest.mark.parametrize("compress", [gzip.compress, zstd, lzma.compress, bz2.compress])
def test_a_compressed_file_is_the_same_rollout_as_the_plain_one(
    fresh_lake: Lake, traces: Path, compress: Callable[[bytes], bytes]
):
    data = json.dumps(mini()).encode()
    (traces / "a.traj.json").write_bytes(data)
    (traces / "a.traj.json.gz").write_bytes(compress(data))
    assert import_sources(fresh_lake, [traces / "a.traj.json"]).rollouts_by_outcome.new == 1
    report = import_sources(fresh_lake, [traces / "a.traj.json.gz"])
    assert (report.rollouts, report.new_events, report.conflicts) == (1, 0, 0)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("runs.tar", tar_of(RUN)),
        ("runs.tar.gz", gzip.compress(tar_of(RUN), mtime=0)),
        ("runs.tgz", gzip.compress(tar_of(RUN), mtime=0)),
        ("runs.tar.zst", zstd(tar_of(RUN))),
        ("runs.tar.xz", lzma.compress(tar_of(RUN))),
        ("runs.tar.bz2", bz2.compress(tar_of(RUN))),
        ("runs.zip", zip_of(RUN)),
    ],
)
def test_members_of_an_archive_are_read_and_named(fresh_lake: Lake, traces: Path, name: str, data: bytes):
    (traces / name).write_bytes(data)
    report = import_sources(fresh_lake, [traces])
    assert (report.rollouts, report.refused) == (2, [])
    assert [file.path for file in report.file_reports] == [
        f"{traces / name}!run1/a/a.traj.json",
        f"{traces / name}!run1/one.traj",
    ]
    assert [piece.path for piece in report.unread] == [f"{traces / name}!run1/README"]
    assert import_sources(fresh_lake, [traces]).new_events == 0


def test_a_member_finds_its_neighbour_even_behind_it(fresh_lake: Lake, traces: Path):
    folder = "evals/wiki-search--gpt-5/7385"
    members = {
        f"{folder}/results.jsonl": json.dumps(verifiers_row()).encode() + b"\n",
        f"{folder}/metadata.json": b'{"env_id": "wiki-search", "model": "gpt-5"}',
    }
    (traces / "evals.tar.gz").write_bytes(gzip.compress(tar_of(members)))
    report = import_sources(fresh_lake, [traces / "evals.tar.gz"])
    assert report.skipped == {"read together with a trace": 1}
    fresh_lake.project()
    assert fresh_lake.scan("turn_completed").collect()["model_requested"].unique().to_list() == ["gpt-5"]


def refused_alone(lake: Lake, folder: Path, name: str, data: bytes) -> ImportReport:
    """The report of an import that refuses one file and reads its neighbour."""
    (folder / name).write_bytes(data)
    (folder / "good.traj").write_text(json.dumps(swe()))
    started = time.monotonic()
    report = import_sources(lake, [folder])
    assert time.monotonic() - started < SECONDS_MAX
    assert report.rollouts == 1
    assert report.refused
    assert all(str(folder / name) in piece.path for piece in report.refused)
    return report


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("bomb.json.gz", lambda: gzip.compress(ZEROS, 9)),
        ("bomb.json.zst", lambda: zstd(ZEROS)),
        ("bomb.json.bz2", lambda: bz2.compress(ZEROS)),
        ("bomb.tar.gz", lambda: gzip.compress(tar_of({"a.json": ZEROS}), 9)),
        ("bomb.tar.zst", lambda: zstd(tar_of({"a.json": ZEROS}))),
        ("bomb.zip", lambda: zip_of({"a.json": ZEROS})),
        ("many.zip", lambda: zip_of({f"{index}.json": ZEROS[: 2**24] for index in range(8)})),
    ],
)
def test_a_bomb_is_refused_by_name(fresh_lake: Lake, traces: Path, name: str, data: Callable[[], bytes]):
    report = refused_alone(fresh_lake, traces, name, data())
    assert any("expand beyond measure" in piece.reason for piece in report.refused)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("nested.zip", zip_of({"inner.zip": zip_of(RUN)}), "an archive in an archive"),
        (
            "nested.tar",
            tar_of({"inner.tar.gz": gzip.compress(tar_of(RUN), mtime=0)}),
            "an archive in an archive",
        ),
        ("twice.json.gz", gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0), "compressed twice"),
        ("torn.json.gz", gzip.compress(b'{"a": 1}', mtime=0)[:-4], "damaged gzip data"),
        ("torn.tar.xz", lzma.compress(tar_of(RUN))[:-30], "damaged"),
        ("torn.zip", zip_of(RUN)[:-30], "damaged zip file"),
    ],
)
def test_what_is_nested_or_torn_is_refused_by_name(
    fresh_lake: Lake, traces: Path, name: str, data: bytes, reason: str
):
    (traces / name).write_bytes(data)
    report = import_sources(fresh_lake, [traces])
    assert any(reason in piece.reason for piece in report.refused)
    assert all(name in piece.path for piece in report.refused)


def test_a_zip_that_states_wrong_sizes_is_refused(fresh_lake: Lake, traces: Path):
    data = zip_of({"a.json": b"[" + b"1," * 5000 + b"1]"})
    small = data.replace((10003).to_bytes(4, "little"), (17).to_bytes(4, "little"))
    assert small != data
    refused_alone(fresh_lake, traces, "lying.zip", small)


def test_links_devices_and_names_that_lead_out_are_named_and_not_read(fresh_lake: Lake, traces: Path):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, kind in (("link.json", tarfile.SYMTYPE), ("pipe.json", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        for name in ("../out.json", "/etc/out.json"):
            info = tarfile.TarInfo(name)
            info.size = 2
            archive.addfile(info, io.BytesIO(b"{}"))
    report = refused_alone(fresh_lake, traces, "odd.tar", file.getvalue())
    reasons = {piece.path.rpartition("!")[2]: piece.reason.partition(";")[0] for piece in report.refused}
    assert reasons == {
        "link.json": "a link in an archive",
        "pipe.json": "a device or a file with holes in an archive",
        "../out.json": "a name that leads out of the archive",
        "/etc/out.json": "a name that leads out of the archive",
    }


def test_a_huge_tar_header_is_refused(fresh_lake: Lake, traces: Path):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 2**32
    report = refused_alone(fresh_lake, traces, "header.tar", info.tobuf() + bytes(10240))
    assert "a tar header too large" in report.refused[0].reason
