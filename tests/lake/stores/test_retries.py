"""Goal: what does not answer is asked again until a time is over, and once at least."""

from __future__ import annotations

import time

import pytest

from tracelake.lake.stores.retries import RETRY_TIMEOUT_VARIABLE, retry_timeout_s, tries
from tracelake.schemas.errors import BadInputError


def test_patience_is_a_number_of_seconds() -> None:
    assert retry_timeout_s({RETRY_TIMEOUT_VARIABLE: "2.5"}) == 2.5
    assert retry_timeout_s({RETRY_TIMEOUT_VARIABLE: "-1"}) == 0
    assert retry_timeout_s({}) == retry_timeout_s({RETRY_TIMEOUT_VARIABLE: ""}) > 1
    with pytest.raises(BadInputError, match="soon"):
        retry_timeout_s({RETRY_TIMEOUT_VARIABLE: "soon"})


def test_without_patience_there_is_one_try() -> None:
    assert len(list(tries(0))) == 1


def test_tries_go_on_until_patience_ends() -> None:
    began_s = time.monotonic()
    assert len(list(tries(0.3))) > 2
    assert time.monotonic() - began_s <= 0.3
