"""Fixtures of all tests: hypothesis profiles, a fresh lake, an S3 server, and the real traces."""

from __future__ import annotations

import os
import tarfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.s3_servers import environment, make_bucket, moto
from tracelake.lake import Lake

# `suite` draws the same examples in every run; HYPOTHESIS_PROFILE=search draws many new ones.
settings.register_profile(
    "suite", deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "search", deadline=None, max_examples=1000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


@pytest.fixture
def fresh_lake(tmp_path: Path) -> Lake:
    """An empty lake in a new folder."""
    return Lake.create(str(tmp_path / "lake"))


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The endpoint of an S3 server."""
    with moto() as endpoint:
        yield endpoint


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an empty bucket; environment variables point to its server."""
    for name, value in environment(s3_server).items():
        monkeypatch.setenv(name, value)
    name = f"b{uuid.uuid4().hex}"
    make_bucket(s3_server, name)
    return name


# The folder of the archives; by default in the project's parent folder.
SHARED_DATA = Path(
    os.environ.get("TRACELAKE_SHARED_DATA", Path(__file__).parent.parent.parent / "shared" / "data")
)


@pytest.fixture(scope="session")
def real_traces(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Unpack a source of real traces once and return its folder: `real_traces("verifiers")`.

    Without the archives the test is skipped. In CI a missing archive in an existing folder is a failure.
    """
    unpacked = tmp_path_factory.mktemp("traces")

    def folder_of(source: str) -> Path:
        archive = SHARED_DATA / f"{source}.tar.xz"
        if not archive.exists():
            if SHARED_DATA.is_dir() and os.environ.get("CI") == "true":
                pytest.fail(f"{archive.name} is missing from the real traces")
            pytest.skip("no folder with real traces")
        folder = unpacked / source
        if not folder.exists():
            with tarfile.open(archive, "r:xz") as tar:
                tar.extractall(unpacked, filter="data")
        return folder

    return folder_of
