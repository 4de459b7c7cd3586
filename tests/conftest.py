"""What every test shares: how hypothesis searches, a fresh lake, and the real traces."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from lake import Lake

# `suite` draws the same examples every time; HYPOTHESIS_PROFILE=search draws many others.
settings.register_profile(
    "suite", deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "search", deadline=None, max_examples=1000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


@pytest.fixture
def fresh_lake(tmp_path: Path) -> Lake:
    """An empty lake in a folder of its own."""
    return Lake.create(str(tmp_path / "lake"))


SHARED_DATA = Path(
    os.environ.get("TRACELAKE_SHARED_DATA", Path(__file__).parent.parent.parent / "shared" / "data")
)


@pytest.fixture(scope="session")
def real_traces(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Unpacks one source of the real traces that lie beside the project; the test is skipped where there are none."""
    unpacked: dict[str, Path] = {}

    def folder_of(source: str) -> Path:
        archive = SHARED_DATA / f"{source}.tar.xz"
        if not SHARED_DATA.is_dir():
            pytest.skip("no real traces beside the project")
        if source not in unpacked:
            folder = tmp_path_factory.mktemp("traces")
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
            unpacked[source] = folder / source
        return unpacked[source]

    return folder_of


def _shared_data() -> Path:
    """The folder of the archives: named by the environment, else beside the project."""
    named = os.environ.get("TRACELAKE_SHARED_DATA")
    return Path(named) if named else Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Unpacks a source of real traces once and gives its folder, as in `real_data("verifiers")`.

    Without the archives the test is skipped; in CI an archive that is missing from their folder is a failure.
    """
    archives = _shared_data()
    unpacked = tmp_path_factory.mktemp("real")

    def folder(source: str) -> Path:
        archive = archives / f"{source}.tar.xz"
        if not archive.exists():
            if archives.exists() and os.environ.get("CI") == "true":
                pytest.fail(f"{archive.name} is missing from the shared data")
            pytest.skip("the real traces are not beside the project")
        target = unpacked / source
        if not target.exists():
            with tarfile.open(archive, "r:xz") as packed:
                packed.extractall(unpacked, filter="data")
        return target

    return folder
