"""Goal: rows with a secret do not leave the lake, a text cannot talk the gate out of it, and no message says
the secret.

Method: tables of one fake secret among clean rows, with betterleaks where it is installed and without it.
"""

from __future__ import annotations

import importlib.util
import json
from random import Random
from typing import Any

import pyarrow as pa
import pytest

from tests.secret_corpus import MAKERS, benign_lines, secret_part
from tracelake.lake.secrets import secret_check
from tracelake.lake.secrets.redaction import Redactor
from tracelake.lake.secrets.secret_check import (
    BETTERLEAKS_SCANNER,
    PATTERNS_SCANNER,
    Finding,
    check_for_secrets,
    strings_in,
)
from tracelake.schemas.errors import SecretFoundError

HAS_BETTERLEAKS = importlib.util.find_spec("betterleaks") is not None
KEY = b"a lake's own key"


def frame(*texts: Any) -> pa.Table:
    ids = [f"event-{index}" for index in range(len(texts))]
    return pa.table({"event_id": ids, "visible_output": list(texts), "turn_index": list(range(len(texts)))})


@pytest.fixture(params=["with betterleaks", "patterns alone"])
def either_gate(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The tests that use it run with both gates."""
    if request.param == "patterns alone":
        monkeypatch.setattr(secret_check, "_betterleaks", lambda: None)
    elif not HAS_BETTERLEAKS:
        pytest.skip("betterleaks is not installed")
    return request.param


def test_clean_rows_pass_and_the_report_says_which_gate_looked(either_gate: str) -> None:
    report = check_for_secrets([("tool_returned", frame(*benign_lines(seed=3)))])
    assert report.row_count == 400
    assert report.allowed_count == 0
    assert report.scanners == (
        (PATTERNS_SCANNER,) if either_gate == "patterns alone" else (BETTERLEAKS_SCANNER, PATTERNS_SCANNER)
    )


@pytest.mark.parametrize("type_", MAKERS)
def test_a_secret_is_found_and_named_by_its_place(type_: str, either_gate: str) -> None:
    text = MAKERS[type_](Random(11))
    rows = frame("ok", json.dumps({"log": f"see:\n{text}\n"}), "fine")
    with pytest.raises(SecretFoundError, match="tool_returned/event-1/") as caught:
        check_for_secrets([("tool_returned", rows)])
    assert secret_part(type_, text) not in str(caught.value)


@pytest.mark.parametrize("marker", ["gitleaks:allow", "betterleaks:allow", "# GITLEAKS:ALLOW", "\0"])
def test_a_text_cannot_switch_the_gate_off(marker: str, either_gate: str) -> None:
    secret = MAKERS["github"](Random(12))
    with pytest.raises(SecretFoundError):
        check_for_secrets([("tool_returned", frame(f"{marker} token {secret} {marker}"))])


@pytest.mark.skipif(not HAS_BETTERLEAKS, reason="betterleaks is not installed")
@pytest.mark.parametrize("marker", ["", " gitleaks:allow", " betterleaks:allow"])
def test_markers_do_not_blind_betterleaks_itself(marker: str) -> None:
    scan_string = secret_check._betterleaks()
    assert scan_string is not None
    text = f"token = {MAKERS['github'](Random(13))}{marker}"
    assert scan_string(secret_check._scannable(f"\0{text}"))


def test_what_the_caller_allows_passes_and_is_counted(either_gate: str) -> None:
    frames = [("tool_returned", frame(MAKERS["gitlab"](Random(14))))]
    with pytest.raises(SecretFoundError) as caught:
        check_for_secrets(frames)
    places = str(caught.value).split("table/event/rule ")[1].split(";")[0].split(", ")
    assert check_for_secrets(frames, allowed=places).allowed_count == len(places)


def test_known_values_are_looked_for_too(either_gate: str) -> None:
    with pytest.raises(SecretFoundError, match="environment"):
        check_for_secrets([("t", frame("abc Tr0ub4dor-and-9 def"))], secrets=["Tr0ub4dor-and-9"])


def test_redacted_rows_pass(either_gate: str) -> None:
    random = Random(15)
    texts = [Redactor(KEY).redact_text(f"a\n{make(random)}\nb").text for make in MAKERS.values()]
    assert check_for_secrets([("tool_returned", frame(*texts))]).row_count == len(MAKERS)


def test_columns_of_any_shape_are_read(either_gate: str) -> None:
    secret = MAKERS["npm"](Random(16))
    shapes = [
        pa.array([[{"a": secret}]]),
        pa.array([[secret]], pa.list_(pa.large_string())),
        pa.array([secret]).dictionary_encode(),
        pa.array([{"text": json.dumps([json.dumps({secret: 1})])}]),
    ]
    for column in shapes:
        with pytest.raises(SecretFoundError, match="derived/row 0/npm"):
            check_for_secrets([("derived", pa.table({"column": column, "count": [1]}))])


def test_a_table_without_text_or_rows_passes(either_gate: str) -> None:
    assert check_for_secrets([("a", frame()), ("b", pa.table({"x": [1, 2]}))]).row_count == 2


def test_strings_of_nested_json_are_given_decoded() -> None:
    text = json.dumps({"k": json.dumps({"inner": "a\nb"})})
    assert "a\nb" in list(strings_in(text))
    assert list(strings_in("[not json")) == ["[not json"]
    assert Finding("t", "e", "r").place == "t/e/r"


@pytest.mark.skipif(not HAS_BETTERLEAKS, reason="betterleaks is not installed")
def test_what_betterleaks_doubts_and_is_not_random_is_counted_only() -> None:
    report = check_for_secrets([("tool_returned", frame("password = raw_password", "password='something'"))])
    assert set(report.doubtful) == {"generic-password"}
