"""Goal: a failed request is tried again until a timeout, and at least once."""

from __future__ import annotations

import time

import pytest

from tracelake.lake.stores.retries import RETRY_TIMEOUT_VARIABLE, retry_timeout_s, tries
from tracelake.schemas.errors import BadInputError


def test_the_retry_timeout_is_a_number_of_seconds() -> None:
    assert retry_timeout_s({RETRY_TIMEOUT_VARIABLE: "2.5"}) == 2.5
    assert retry_timeout_s({RETRY_TIMEOUT_VARIABLE: "-1"}) == 0
    assert retry_timeout_s({}) == retry_timeout_s({RETRY_TIMEOUT_VARIABLE: ""}) > 1
    with pytest.raises(BadInputError, match="soon"):
        retry_timeout_s({RETRY_TIMEOUT_VARIABLE: "soon"})


def test_with_a_timeout_of_zero_there_is_one_try() -> None:
    assert len(list(tries(0))) == 1


def test_tries_continue_until_the_timeout() -> None:
    began_s = time.monotonic()
    assert len(list(tries(0.3))) > 2
    assert time.monotonic() - began_s <= 0.3
