"""Goal: a store that would silently lose facts is refused before a lake is created in it.

Method: a correct server, behind ones that ignore conditions or check first and write then.
"""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests.lake.store_wrappers import PassingStore
from tests.s3_servers import Behaviour, checks_then_writes, drops_metadata, ignores_conditions, in_front_of
from tracelake.lake import Lake
from tracelake.lake.stores.local_store import LocalStore
from tracelake.lake.stores.memory_store import MemoryStore
from tracelake.lake.stores.probe import SCRATCH, check_conditional_writes
from tracelake.lake.stores.store import ObjectStore, open_store
from tracelake.schemas.errors import LakeMissingError, StoreUnsupportedError


@pytest.mark.parametrize("place", ["local", "memory", "s3"])
def test_a_store_with_conditional_writes_passes_and_stays_unchanged(
    place: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    stores: dict[str, ObjectStore] = {
        "local": LocalStore(tmp_path),
        "memory": MemoryStore(uuid.uuid4().hex),
        "s3": open_store(f"s3://{request.getfixturevalue('bucket')}/x"),
    }
    check_conditional_writes(stores[place])
    assert stores[place].list("") == []


def test_a_store_that_forbids_deletes_passes(tmp_path: Path) -> None:
    class UndeletableStore(PassingStore):
        def delete(self, path: str) -> None:
            raise PermissionError(path)

    store = UndeletableStore(LocalStore(tmp_path))
    check_conditional_writes(store)
    assert len(store.list(SCRATCH)) == 2


@pytest.mark.parametrize(
    ("behaviour", "what"),
    [(ignores_conditions, "ignores the condition"), (checks_then_writes, "racing creates")],
)
def test_a_server_that_ignores_conditions_is_refused_and_no_lake_is_created(
    bucket: str, s3_server: str, monkeypatch: pytest.MonkeyPatch, behaviour: Behaviour, what: str
) -> None:
    with in_front_of(s3_server, behaviour) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        with pytest.raises(StoreUnsupportedError, match=what):
            Lake.create(f"s3://{bucket}/lake")
        with pytest.raises(LakeMissingError):
            Lake.open(f"s3://{bucket}/lake")


def test_a_server_that_drops_metadata_passes(
    bucket: str, s3_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with in_front_of(s3_server, drops_metadata) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        Lake.create(f"s3://{bucket}/lake")


class ForgettingStore(PassingStore):
    """Accepts files and drops them."""

    def put_new(self, path: str, data: bytes | memoryview) -> bool:
        return True


class StubbornStore(PassingStore):
    """Refuses files that do not exist."""

    def put_new(self, path: str, data: bytes | memoryview) -> bool:
        return False


@pytest.mark.parametrize("kind", [ForgettingStore, StubbornStore])
def test_a_store_that_lies_is_refused(tmp_path: Path, kind: type[PassingStore]) -> None:
    with pytest.raises(StoreUnsupportedError):
        check_conditional_writes(kind(LocalStore(tmp_path)))
