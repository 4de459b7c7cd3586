"""Goal: no secret that a writer is given reaches any byte of a lake, and the envelope counts the redactions.

Method: canaries in every kind of place, then a search through everything written, landed and projected.
"""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from tests.lake.facts import ended, turn
from tracelake.lake import Lake
from tracelake.lake.layout import EVENTS, REDACTION_KEY
from tracelake.lake.secrets.redaction import TOKEN_OPEN
from tracelake.schemas.errors import SecretFoundError
from tracelake.schemas.events.event import Event
from tracelake.schemas.events.rollout_events import RolloutStarted, ToolReturned, TurnCompleted
from tracelake.schemas.tokens import TOKEN_COLUMNS, PromptEncoder, PromptFold

KNOWN = "Zq7rT2mWx9LkB4vN8pHd"
ANTHROPIC = (
    "sk-ant-api03-"
    + "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5bC7dE9fG1hJ3kL5mN7pQ9rS1tU3vW5xY7zA9bC1dE3fG5hJ7kL9mNQAA"
)


def everything_written(lake: Lake) -> bytes:
    """All bytes below the root, and all values of Parquet and Lance files decoded."""
    root = Path(lake.uri)
    raw = b"".join(path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file())
    landed = [str(pl.read_parquet(root / path).to_dicts()) for path in lake.store.list(EVENTS)]
    tables = [str(lake.scan(name).collect().to_dicts()) for name in lake.tables()]
    return raw + "".join(landed + tables).encode()


@pytest.fixture
def lake_with_canaries(fresh_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setenv("TRACELAKE_TEST_API_KEY", KNOWN)
    with fresh_lake.writer("run") as writer:
        writer.append([turn(0)])
        writer.append(
            [
                ToolReturned(
                    rollout_id="r1",
                    turn_index=0,
                    call_index=0,
                    raw_output=f"export KEY={ANTHROPIC}\n",
                    visible_output=f"the key is {KNOWN}",
                )
            ]
        )
        message = json.dumps([{"content": f"use {ANTHROPIC}", "role": "user"}])
        writer.add(
            [
                turn(1).model_copy(
                    update={"turn_index": 1, "new_messages_json": message, "new_prompt_ids": [7]}
                )
            ]
        )
        writer.flush()
        writer.append(
            [turn(1, new_prompt_ids=[7, 8]).model_copy(update={"turn_index": 2}), turn(2, new_prompt_ids=[9])]
        )
        writer.append([ended(1).model_copy(update={"submission": f"{KNOWN} is in here"})])
        # The segment is not sealed yet, so the appended events are in the spool.
        assert KNOWN.encode() not in b"".join(
            path.read_bytes() for path in Path(fresh_lake.uri).rglob("*.segment")
        )
    fresh_lake.project()
    return fresh_lake


def test_no_written_byte_contains_a_canary(lake_with_canaries: Lake) -> None:
    written = everything_written(lake_with_canaries)
    for canary in (KNOWN, ANTHROPIC, KNOWN[::-1], ANTHROPIC[13:60]):
        assert canary.encode() not in written
    assert written.count(TOKEN_OPEN.encode()) > 4


def test_the_envelope_counts_the_redactions(lake_with_canaries: Lake) -> None:
    tools = lake_with_canaries.scan("tool_returned").collect().to_dicts()
    assert sum(json.loads(tools[0]["redactions_json"]).values()) == 2
    turns = {
        (row["rollout_id"], row["turn_index"]): row
        for row in lake_with_canaries.scan("turn_completed").collect().to_dicts()
    }
    assert turns["r0", 0]["redactions_json"] is None
    assert turns["r1", 1]["new_prompt_ids"] is None


def test_a_secret_removes_the_token_ids_of_its_rollout_only(lake_with_canaries: Lake) -> None:
    turns = {
        (row["rollout_id"], row["turn_index"]): row
        for row in lake_with_canaries.scan("turn_completed").collect().to_dicts()
    }
    assert turns["r1", 2]["new_prompt_ids"] is None
    assert json.loads(turns["r1", 2]["redactions_json"]) == {"token_vector": 1}
    assert turns["r2", 0]["new_prompt_ids"] == [9]


def turns_of(texts: list[str]) -> list[TurnCompleted]:
    """Turns of one rollout with token ids; each adds a message with one of the texts."""
    encoder, context = PromptEncoder(), []
    events: list[TurnCompleted] = []
    for index, text in enumerate(texts):
        parent = index - 1 if index else None
        delta = encoder.add(index, parent, [*context, 10 * index], [10 * index + 1])
        context += [10 * index, 10 * index + 1]
        fields = {
            "turn_index": index,
            "parent_turn_index": parent,
            "new_messages_json": json.dumps([{"content": text, "role": "user"}]),
        }
        events.append(turn(1, completion_ids=[10 * index + 1], **delta._asdict()).model_copy(update=fields))
    return events


def prompts(lake: Lake) -> list[tuple[list[int] | None, str | None]]:
    lake.project()
    rows = lake.scan("turn_completed").select(TOKEN_COLUMNS).collect()
    fold = PromptFold(rows.iter_rows())
    found = [fold.prompt("r1", turn_index) for turn_index in sorted(rows["turn_index"])]
    return [(None if ids is None else ids.to_list(), reason) for ids, reason in found]


REMOVED = "redaction removed the token ids of turn {}"


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_secret_removes_the_token_ids_from_its_turn_on_whatever_the_batches(
    fresh_lake: Lake, batch: int
) -> None:
    """The shorter recording has no secret yet; the longer one must not conflict with it."""
    events = turns_of(["a", "b", f"use {ANTHROPIC}", "c", "d"])
    with fresh_lake.writer("shorter") as writer:
        writer.append(events[:2])
    for run in ("longer", "again"):
        with fresh_lake.writer(run) as writer:
            receipts = [
                writer.append(events[start : start + batch]) for start in range(0, len(events), batch)
            ]
            receipts += [writer.append(events[:2])]
        assert sum(receipt.conflict_count for receipt in receipts) == 0
        assert sum(receipt.new_count for receipt in receipts) == (3 if run == "longer" else 0)
    assert prompts(fresh_lake) == [
        ([0], None),
        ([0, 1, 10], None),
        *((None, REMOVED.format(index)) for index in (2, 3, 4)),
    ]
    rows = fresh_lake.scan("turn_completed").sort("turn_index").collect()
    assert rows["prompt_prefix_hash"].is_null().to_list() == [True, False, True, True, True]
    assert rows["completion_ids"].is_null().to_list() == [False, False, True, True, True]


def test_a_turn_of_another_writer_folds_to_null_after_a_removed_prefix(fresh_lake: Lake) -> None:
    """This writer knows of no secret, and what its turn adds spells none."""
    events = turns_of(["a", f"use {ANTHROPIC}", "b"])
    for run, part in (("first", events[:2]), ("second", events[2:])):
        with fresh_lake.writer(run) as writer:
            writer.append(part)
    assert prompts(fresh_lake) == [([0], None), (None, REMOVED.format(1)), (None, REMOVED.format(1))]
    assert fresh_lake.scan("turn_completed").sort("turn_index").collect()["new_prompt_ids"][2].to_list() == [
        20
    ]


@pytest.mark.parametrize(
    ("secret", "removed"),
    [
        (
            RolloutStarted(
                rollout_id="r1", task_key="t", environment="e", substrate="s", tools_json=ANTHROPIC
            ),
            0,
        ),
        (ToolReturned(rollout_id="r1", turn_index=0, call_index=0, raw_output=ANTHROPIC), 1),
        (ended(1).model_copy(update={"submission": ANTHROPIC}), 3),
    ],
    ids=["at the start", "in a tool's output", "at the end"],
)
def test_only_turns_that_may_repeat_a_secret_lose_their_token_ids(
    fresh_lake: Lake, secret: Event, removed: int
) -> None:
    with fresh_lake.writer("run") as writer:
        writer.append([secret])
        writer.append(turns_of(["a", "b", "c"]))
    found = [ids is None for ids, _ in prompts(fresh_lake)]
    assert found == [index >= removed for index in range(3)]


def test_a_secret_has_one_token_in_a_lake_and_another_in_another_lake(
    lake_with_canaries: Lake, tmp_path: Path
) -> None:
    [row] = lake_with_canaries.scan("rollout_ended").collect().to_dicts()
    [tool] = lake_with_canaries.scan("tool_returned").collect().to_dicts()
    token = row["submission"].split(" is")[0]
    assert tool["visible_output"] == f"the key is {token}"
    other = Lake.create(str(tmp_path / "other"))
    assert other.store.read(REDACTION_KEY) != lake_with_canaries.store.read(REDACTION_KEY)


def test_a_pin_of_rows_with_a_secret_is_refused_unless_its_place_is_allowed(
    fresh_lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fresh_lake.writer("before the value was known") as writer:
        writer.append([ended(1).model_copy(update={"submission": f"{KNOWN} is in here"})])
    fresh_lake.project()
    monkeypatch.setenv("TRACELAKE_TEST_API_KEY", KNOWN)
    with pytest.raises(SecretFoundError) as caught:
        fresh_lake.pin("p", ["rollout_ended"])
    assert KNOWN not in str(caught.value)
    [row] = fresh_lake.scan("rollout_ended").collect().to_dicts()
    assert f"rollout_ended/{row['event_id']}" in str(caught.value)
    assert fresh_lake.pins() == []
    place = next(
        word
        for word in str(caught.value).replace(";", " ").replace(",", " ").split()
        if row["event_id"] in word
    )
    assert fresh_lake.pin("p", ["rollout_ended"], allowed=[place]).number == 1


def test_a_pin_carries_the_ledger_of_its_lake(lake_with_canaries: Lake) -> None:
    pin = lake_with_canaries.pin("p", ["rollout_ended"])
    assert pin.run_counts == tuple(lake_with_canaries.ledger().lines)
    assert sum(line.given for line in pin.run_counts) == 6
    assert lake_with_canaries.open_pin("p@1").pin.run_counts == pin.run_counts
