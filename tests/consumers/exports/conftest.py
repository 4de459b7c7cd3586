"""One lake for all tests that only read it."""

from __future__ import annotations

import pytest

from tests.consumers.exports.export_lake import export_lake
from tracelake.lake import Lake


@pytest.fixture(scope="session")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return export_lake(str(tmp_path_factory.mktemp("exports") / "lake"))
