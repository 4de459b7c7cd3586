"""A server for the tests of recording."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.producers.recording.openai_server import OpenAiServer


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAiServer]:
    with OpenAiServer() as running:
        yield running
