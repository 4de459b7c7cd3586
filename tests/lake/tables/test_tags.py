"""Goal: a tag is created once, never moves, and is reported only when it exists.

Method: tables on a local disk, and on a server that refuses or resets the request that creates a tag.
"""

from __future__ import annotations

from pathlib import Path

import lance
import pyarrow as pa
import pytest
from lance import LanceDataset

from tests.s3_servers import Answer, Faults, Pass, Request, in_front_of
from tracelake.lake.tables.tags import create_tag, tags_of
from tracelake.schemas.errors import StoreUnavailableError

ROWS = pa.table({"number": [1]})


@pytest.fixture
def table(tmp_path: Path) -> LanceDataset:
    """With the versions 1 and 2."""
    lance.write_dataset(ROWS, str(tmp_path / "t.lance"))
    return lance.write_dataset(ROWS, str(tmp_path / "t.lance"), mode="append")


def test_an_existing_tag_protects_only_its_own_version(table: LanceDataset) -> None:
    assert create_tag(table, "mine", 1)
    assert create_tag(table, "mine", 1)
    assert not create_tag(table, "mine", 2)
    assert tags_of(table)["mine"]["version"] == 1


def test_a_missing_version_is_not_protected(table: LanceDataset) -> None:
    assert not create_tag(table, "mine", 7)
    assert tags_of(table) == {}


def remote(bucket: str, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> LanceDataset:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    options = {"allow_http": "true", "client_retry_timeout": "1"}
    return lance.dataset(f"s3://{bucket}/t.lance", storage_options=options)


@pytest.mark.parametrize("fault", ["refused with 409", "reset", "done, then reset", "done, then 500"])
def test_a_tag_is_created_whatever_the_first_response_was(
    bucket: str, s3_server: str, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    lance.write_dataset(ROWS, f"s3://{bucket}/t.lance", storage_options={"allow_http": "true"})
    with in_front_of(s3_server, Faults(fault)) as endpoint:
        table = remote(bucket, endpoint, monkeypatch)
        assert create_tag(table, "mine", 1)
        assert tags_of(table)["mine"]["version"] == 1


def test_a_refusing_store_is_not_taken_for_a_missing_version(
    bucket: str, s3_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(request: Request, pass_on: Pass) -> Answer:
        return Answer(403) if request.method == "PUT" else pass_on(request)

    lance.write_dataset(ROWS, f"s3://{bucket}/t.lance", storage_options={"allow_http": "true"})
    with in_front_of(s3_server, refuse) as endpoint:
        table = remote(bucket, endpoint, monkeypatch)
        with pytest.raises(StoreUnavailableError, match="403"):
            create_tag(table, "mine", 1)
