"""Goal: no credential of an address and no half of a key leaves the process in text outside a lake."""

from __future__ import annotations

from random import Random

import pytest

from tests.secret_corpus import MAKERS, secret_part
from tracelake.lake.secrets.public_text import public_uri, redact_text, redacted_excerpt
from tracelake.lake.secrets.redaction import Redactor


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("http://user:pw@host:81/a/b.json?X-Amz-Signature=0a1b&token=2c#part", "http://host:81/a/b.json"),
        ("s3://key:word@bucket/a@b/c.json", "s3://bucket/a@b/c.json"),
        ("ftp://user@host/x", "ftp://host/x"),
        ("https://user:a/b?c#d@host/x?y", "https://host/x"),
        ("https://user:p@ss@host/x", "https://host/x"),
        ("http://[::1]:80/a?b", "http://[::1]:80/a"),
        ("zip://a.json::https://u:p@host/x.zip?sig=1", "zip://a.json::https://host/x.zip"),
        ("user:pw@host:/data/x.json", "host:/data/x.json"),
        (r"C:\data\a@b?c#d.json", r"C:\data\a@b?c#d.json"),
        (r"\\server\share\a:b@c.json", r"\\server\share\a:b@c.json"),
        ("/data/a#1?.json", "/data/a#1?.json"),
        ("runs.tar.xz!inner/a.jsonl", "runs.tar.xz!inner/a.jsonl"),
    ],
)
def test_an_address_loses_its_credentials(address: str, public: str) -> None:
    assert public_uri(address) == public
    assert public_uri(public) == public


@pytest.mark.parametrize("type_", MAKERS)
def test_text_and_paths_are_redacted_without_a_lake(type_: str) -> None:
    text = MAKERS[type_](Random(type_))
    secret = secret_part(type_, text)
    clean = redact_text(f"refused: {text}")
    assert secret not in clean
    assert redact_text(clean) == clean
    assert Redactor(b"the key of a lake").redact_text(clean).text == clean
    assert secret not in public_uri(f"/data/{text}/a.json")
    shown = redacted_excerpt(f"{'x' * 70} {text}", 100)
    assert secret[:20] not in shown
    assert len(shown) <= 100


def test_clean_text_stays_the_same_object() -> None:
    text = "nothing to see"
    assert redact_text(text) is text
