"""What every test shares: how hypothesis searches, and a fresh lake."""

from __future__ import annotations

import os
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
