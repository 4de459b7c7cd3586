"""Goal: of the shapes that redaction names none survives, at any place or in any file of a lake."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.lake.secrets.secret_shapes import NAMED_SHAPES, NOT_NAMED_SHAPES, PLACES, forms_left
from tracelake.lake.lake import Lake
from tracelake.lake.secrets.public_text import redact_text
from tracelake.lake.secrets.redaction import Redactor
from tracelake.lake.writing.deduplicate import Origin
from tracelake.schemas.events.rollout_events import ToolReturned

REDACTOR = Redactor(b"a lake's own key")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", NAMED_SHAPES)
def test_no_named_shape_survives(name: str, place: str) -> None:
    shape = NAMED_SHAPES[name](Random(f"{name} {place}"))
    text = PLACES[place](shape)
    event = ToolReturned(rollout_id="r", turn_index=0, call_index=0, visible_output=text)
    redacted = REDACTOR.redact(event).event
    assert isinstance(redacted, ToolReturned)
    assert forms_left([shape], redacted.visible_output or "") == []
    assert forms_left([shape], redact_text(text)) == []


def test_36_shapes_are_planted() -> None:
    assert len(NAMED_SHAPES) + len(NOT_NAMED_SHAPES) == 36


def test_an_invented_token_saves_no_key() -> None:
    shape = NAMED_SHAPES["GitHub PAT"](Random(1))
    for token in ("⟦secret:github⟧", f"⟦secret:x:{'0' * 32}⟧"):
        split = shape.text[:20] + token + shape.text[20:]
        assert shape.text[22:] not in REDACTOR.redact_text(split).text


def test_ids_and_addresses_are_redacted_alike_in_every_event(tmp_path: Path) -> None:
    lake = Lake.create(str(tmp_path / "lake"))
    shape = NAMED_SHAPES["GitHub PAT"](Random(2))
    rollout_id = f"repo__{shape.text}__1"
    origin = Origin("imported", f"https://me:pw@host.test/{shape.text}/a.json?token={shape.text}", "0" * 64)
    with lake.writer(run_id="run") as writer:
        for index in range(2):
            writer.append(
                [ToolReturned(rollout_id=rollout_id, turn_index=0, call_index=index, visible_output="x")],
                origin,
            )
    lake.project()
    rows = lake.scan("tool_returned").collect().to_dicts()
    assert len({row["rollout_id"] for row in rows}) == 1
    assert {row["source_uri"].split("⟦")[0] for row in rows} == {"https://host.test/"}
    for path in (tmp_path / "lake").rglob("*"):
        assert not path.is_file() or shape.text.encode() not in path.read_bytes()
    assert (tmp_path / "lake" / "redaction.key").stat().st_mode & 0o777 == 0o600
