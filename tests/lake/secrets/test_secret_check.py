"""Goal: rows with a secret are never pinned, a text cannot switch the check off, and no message quotes the
secret.

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
def scanners(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Tests that use it run with both scanners and with the patterns alone."""
    if request.param == "patterns alone":
        monkeypatch.setattr(secret_check, "_betterleaks", lambda: None)
    elif not HAS_BETTERLEAKS:
        pytest.skip("betterleaks is not installed")
    return request.param


def test_clean_rows_pass_and_the_report_names_the_scanners(scanners: str) -> None:
    report = check_for_secrets([("tool_returned", frame(*benign_lines(seed=3)))])
    assert report.row_count == 400
    assert report.allowed_count == 0
    assert report.scanners == (
        (PATTERNS_SCANNER,) if scanners == "patterns alone" else (BETTERLEAKS_SCANNER, PATTERNS_SCANNER)
    )


@pytest.mark.parametrize("type_", MAKERS)
def test_a_secret_is_found_and_named_by_its_place(type_: str, scanners: str) -> None:
    text = MAKERS[type_](Random(11))
    rows = frame("ok", json.dumps({"log": f"see:\n{text}\n"}), "fine")
    with pytest.raises(SecretFoundError, match="tool_returned/event-1/") as caught:
        check_for_secrets([("tool_returned", rows)])
    assert secret_part(type_, text) not in str(caught.value)


@pytest.mark.parametrize("marker", ["gitleaks:allow", "betterleaks:allow", "# GITLEAKS:ALLOW", "\0"])
def test_a_text_cannot_switch_the_check_off(marker: str, scanners: str) -> None:
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


def test_allowed_findings_pass_and_are_counted(scanners: str) -> None:
    frames = [("tool_returned", frame(MAKERS["gitlab"](Random(14))))]
    with pytest.raises(SecretFoundError) as caught:
        check_for_secrets(frames)
    places = str(caught.value).split("table/event/rule ")[1].split(";")[0].split(", ")
    assert check_for_secrets(frames, allowed=places).allowed_count == len(places)


def test_known_values_are_found_too(scanners: str) -> None:
    with pytest.raises(SecretFoundError, match="environment"):
        check_for_secrets([("t", frame("abc Tr0ub4dor-and-9 def"))], secrets=["Tr0ub4dor-and-9"])


def test_redacted_rows_pass(scanners: str) -> None:
    random = Random(15)
    texts = [Redactor(KEY).redact_text(f"a\n{make(random)}\nb").text for make in MAKERS.values()]
    assert check_for_secrets([("tool_returned", frame(*texts))]).row_count == len(MAKERS)


def test_columns_of_any_shape_are_read(scanners: str) -> None:
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


def test_a_table_without_text_or_rows_passes(scanners: str) -> None:
    assert check_for_secrets([("a", frame()), ("b", pa.table({"x": [1, 2]}))]).row_count == 2


def test_strings_of_nested_json_are_decoded() -> None:
    text = json.dumps({"k": json.dumps({"inner": "a\nb"})})
    assert "a\nb" in list(strings_in(text))
    assert list(strings_in("[not json")) == ["[not json"]
    assert Finding("t", "e", "r").place == "t/e/r"


@pytest.mark.skipif(not HAS_BETTERLEAKS, reason="betterleaks is not installed")
def test_doubtful_findings_that_do_not_look_random_are_only_counted() -> None:
    report = check_for_secrets([("tool_returned", frame("password = raw_password", "password='something'"))])
    assert set(report.doubtful) == {"generic-password"}
