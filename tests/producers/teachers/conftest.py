"""Recorded calls of coding agents, 10,551 of them, in a lake; and litellm's price list."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tracelake.lake import Lake
from tracelake.producers.importers.import_sources import import_sources


@pytest.fixture(scope="session")
def recorded_lake(tmp_path_factory: pytest.TempPathFactory, real_traces: Callable[[str], Path]) -> Lake:
    folder = real_traces("mini-swe-agent-pr816")
    lake = Lake.create(str(tmp_path_factory.mktemp("recorded") / "lake"))
    import_sources(lake, [folder])
    lake.project(["turn_completed", "rollout_started"])
    return lake


@pytest.fixture(scope="session")
def litellm_list(real_traces: Callable[[str], Path]) -> Path:
    return real_traces("litellm-prices") / "model_prices_and_context_window_backup.json"
