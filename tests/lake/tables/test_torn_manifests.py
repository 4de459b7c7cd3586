"""Goal: a returned commit survives a power cut, and a torn version is quarantined and projected again.

Method: the system calls of a real projection are traced, and every new file must be among the synced ones;
manifests are torn as a power cut leaves them (names without bytes), with garbage, or by truncated data files.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import lance
import polars as pl
import pytest

from tests.lake.facts import digests, reward, table_ids
from tracelake.lake import Lake
from tracelake.lake.layout import table_path
from tracelake.lake.tables import torn_manifests
from tracelake.lake.tables.derived import Derivation
from tracelake.lake.tables.fsync import local_folder
from tracelake.lake.tables.lance_errors import panics_as_errors
from tracelake.lake.tables.torn_manifests import quarantine_torn_manifests, torn_newest_manifest
from tracelake.schemas.errors import CorruptFileError, PinChangedError

KIND = "reward_assigned"
ROOT = Path(__file__).parents[3]
WORK = """
import sys
import polars as pl
from tracelake.lake import Lake
from tracelake.lake.tables.derived import Derivation
from tests.lake.facts import reward
lake = Lake.open(sys.argv[1])
for index in range(2):
    with lake.writer("run") as writer:
        writer.append([reward(index)])
    lake.project()
lake.derive("pairs", pl.DataFrame({"id": [1]}), Derivation(key=("id",), code_version="1"))
lake.pin("p", lake.tables())
lake.maintain()
"""


@pytest.fixture
def lake(fresh_lake: Lake) -> Lake:
    """Three commits of one event each; this process has not checked the table yet."""
    for index in range(3):
        with fresh_lake.writer("run") as writer:
            writer.append([reward(index)])
        fresh_lake.project()
    fresh_lake.pin("p", [KIND])
    torn_manifests.forget_checked_tables()
    return fresh_lake


def folder(lake: Lake) -> Path:
    return Path(lake.store.location(table_path(KIND)))


def newest_manifest(lake: Lake) -> Path:
    return min((folder(lake) / "_versions").glob("*.manifest"))


def newest_data(lake: Lake) -> Path:
    fragment = lance.dataset(str(folder(lake))).get_fragments()[-1]
    return folder(lake) / "data" / fragment.metadata.files[0].path


@pytest.mark.skipif(shutil.which("strace") is None, reason="lists system calls")
def test_every_file_of_a_commit_and_its_folder_are_synced(fresh_lake: Lake, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    command = [
        "strace",
        "-f",
        "-y",
        "-e",
        "trace=fsync,fdatasync",
        "-o",
        str(trace),
        sys.executable,
        "-c",
        WORK,
    ]
    subprocess.run([*command, fresh_lake.uri], cwd=ROOT, check=True, timeout=240)
    synced = set(re.findall(r"f(?:data)?sync\(\d+<([^>]*)>", trace.read_text()))
    files = [path for path in (Path(fresh_lake.uri) / "tables").rglob("*") if path.is_file()]
    # A missing hint is written again, so it needs no sync.
    needed = [path for path in files if path.name != "latest_version_hint.json"]
    assert [str(path) for path in needed if str(path) not in synced] == []
    folders = {str(path.parent) for path in needed}
    assert folders <= synced


TEARS: dict[str, Callable[[Path], None]] = {
    "no bytes": lambda path: os.truncate(path, 0),
    "half of them": lambda path: os.truncate(path, path.stat().st_size // 2),
    "garbage": lambda path: path.write_bytes(b"\x07" * 3000) and None,
    "garbage with the right end": lambda path: path.write_bytes(b"\x07" * 3000 + b"LANC") and None,
}


@pytest.mark.parametrize("tear", TEARS)
def test_a_torn_newest_manifest_is_quarantined_and_its_rows_are_projected_again(
    lake: Lake, tear: str
) -> None:
    before, torn = digests(lake), newest_manifest(lake)
    torn_manifests.forget_checked_tables()
    TEARS[tear](torn)
    left = torn.read_bytes()
    assert "is torn (on which depend: pins p@1)" in "\n".join(lake.verify().problems)
    assert torn.exists()
    assert lake.project() == {KIND: 1}
    assert digests(lake) == before
    [quarantined] = (folder(lake).parent / "quarantine").iterdir()
    assert quarantined.read_bytes() == left
    # The pin names the torn version, whose number and rows may be the same again.
    assert lake.verify(deep=True).quarantined == (f"tables/quarantine/{quarantined.name}",)


@pytest.mark.parametrize("cut", [0, 100])
def test_a_manifest_with_a_truncated_data_file_is_quarantined(lake: Lake, cut: int) -> None:
    before, data = digests(lake), newest_data(lake)
    torn_manifests.forget_checked_tables()
    os.truncate(data, cut)
    assert torn_newest_manifest(str(folder(lake))) == newest_manifest(lake)
    assert lake.project() == {KIND: 1}
    assert digests(lake) == before
    assert len(set(table_ids(lake, KIND))) == 3


def test_several_torn_manifests_are_quarantined_one_after_the_other(lake: Lake) -> None:
    before = digests(lake)
    torn_manifests.forget_checked_tables()
    for path in sorted((folder(lake) / "_versions").glob("*.manifest"))[:2]:
        os.truncate(path, 0)
    assert lake.project() == {KIND: 2}
    assert digests(lake) == before


def test_a_torn_older_version_stays_and_its_pin_fails_loudly(lake: Lake) -> None:
    pinned = newest_manifest(lake)
    with lake.writer("run") as writer:
        writer.append([reward(9)])
    lake.project()
    os.truncate(pinned, 0)
    torn_manifests.forget_checked_tables()
    assert lake.project() == {KIND: 0}
    assert pinned.exists()
    with pytest.raises(PinChangedError, match="tracelake rebuild"):
        lake.open_pin("p@1")
    assert any("pin p@1" in problem for problem in lake.verify(deep=True).problems)


def test_a_torn_derived_table_is_derived_again(lake: Lake) -> None:
    derivation = Derivation(key=("id",), code_version="1")
    lake.derive("pairs", pl.DataFrame({"id": [1]}), derivation)
    second = lake.derive("pairs", pl.DataFrame({"id": [1, 2]}), derivation)
    torn_manifests.forget_checked_tables()
    os.truncate(min(Path(lake.store.location(table_path("pairs")), "_versions").glob("*.manifest")), 0)
    again = lake.derive("pairs", pl.DataFrame({"id": [1, 2]}), derivation)
    assert again.digest == second.digest
    assert lake.scan("pairs").collect().height == 2


def test_a_projection_of_all_kinds_quarantines_a_torn_derived_table(lake: Lake) -> None:
    derivation = Derivation(key=("id",), code_version="1")
    lake.derive("pairs", pl.DataFrame({"id": [1]}), derivation)
    lake.derive("pairs", pl.DataFrame({"id": [1, 2]}), derivation)
    torn_manifests.forget_checked_tables()
    os.truncate(min(Path(lake.store.location(table_path("pairs")), "_versions").glob("*.manifest")), 0)
    assert not lake.verify().ok
    lake.project([KIND])
    assert not lake.verify().ok
    lake.project()
    assert lake.verify().problems == ()
    assert lake.scan("pairs").collect().height == 1


def test_an_intact_table_a_remote_one_and_a_missing_one_are_left_alone(lake: Lake) -> None:
    assert not quarantine_torn_manifests(str(folder(lake)))
    assert not quarantine_torn_manifests("s3://bucket/tables/x.lance")
    assert not quarantine_torn_manifests(str(folder(lake)) + "-absent")
    assert local_folder("file:///x") == Path("/x")


class PanicException(BaseException):
    """Has the name of the Rust libraries' panics."""


def test_a_panic_becomes_an_error_and_an_interrupt_does_not() -> None:
    with pytest.raises(CorruptFileError, match="table x cannot be read"), panics_as_errors("table x"):
        raise PanicException("called `Option::unwrap()` on a `None` value")
    with pytest.raises(KeyboardInterrupt), panics_as_errors("table x"):
        raise KeyboardInterrupt
    with pytest.raises(OSError, match="gone"), panics_as_errors("table x"):
        raise OSError("gone")
