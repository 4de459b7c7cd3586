"""ATIF documents, and the round trip of documents through a lake.

Not equal after a round trip, as docs/exports.md lists: the schema version, `trajectory_id`,
`extra.tracelake`, log-probabilities beyond 32 bits, and entries after the last call.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.consumers.exports.export_lake import LONG, ROLLOUT_TABLES, TASK, UNSTARTED, export_lake
from tracelake.assets.build import build
from tracelake.assets.derivations import BuildParameters
from tracelake.consumers.exports.atif import file_name
from tracelake.consumers.exports.atif_document import SCHEMA_VERSION
from tracelake.consumers.exports.export import export
from tracelake.lake import Lake
from tracelake.producers.importers.importer import ImportedRollout, ImportOptions
from tracelake.producers.importers.recognise import importer_for
from tracelake.producers.importers.source import source_of_bytes
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.events.rollout_events import RolloutEnded, RolloutStarted, TurnCompleted
from tracelake.schemas.message import Message

ENTRIES = "steps"


@pytest.fixture(scope="module")
def folder(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("atif") / "out"
    export(lake, "traces", "atif", folder)
    return folder


def document_of(folder: Path, rollout_id: str) -> dict[str, Any]:
    return json.loads((folder / "trajectories" / file_name(rollout_id)).read_text(encoding="utf-8"))


def test_messages_turns_and_results_become_entries_in_order(folder: Path) -> None:
    document = document_of(folder, LONG)
    assert document["schema_version"] == SCHEMA_VERSION
    entries = document[ENTRIES]
    assert [entry["step_id"] for entry in entries] == [1, 2, 3, 4, 5]
    assert [entry["source"] for entry in entries] == ["system", "user", "agent", "agent", "agent"]
    first, second, third = entries[2:]
    assert first["tool_calls"] == [
        {"tool_call_id": "call-cat x", "function_name": "bash", "arguments": {"command": "cat x"}}
    ]
    [result] = first["observation"]["results"]
    assert (result["source_call_id"], result["content"]) == ("call-cat x", "x x…")
    assert result["extra"]["tracelake"]["raw_output"] == "x x x x x x x"
    # A result in a message of the user is written once, as an observation.
    assert second["observation"]["results"][0]["content"] == "no such file"
    assert second["reasoning_content"] == "y may exist"
    assert second["metrics"]["prompt_token_ids"] == [10, 20, 21, 11]
    assert second["metrics"]["logprobs"] == [-0.1, -0.25]
    assert second["timestamp"] == "2026-01-02T03:04:01Z"
    assert third["message"] == "x x x"
    assert third["extra"]["tracelake"]["message"] == {"refusal": "none"}


def test_what_atif_has_no_field_for_is_in_extra(folder: Path) -> None:
    document = document_of(folder, LONG)
    own = document["extra"]["tracelake"]
    assert own["task"] == TASK
    assert own["submission"] == "x x x"
    # `notes` is a key of ATIF and comes back, `unknown` is not.
    assert document["notes"] == "by hand"
    assert own["source"] == {"unknown": 1}


def test_rewards_are_in_a_file_of_their_own(folder: Path) -> None:
    lines = [json.loads(line) for line in (folder / "rewards.jsonl").read_text().splitlines()]
    long = {line["name"]: line for line in lines if line["rollout_id"] == LONG}
    assert long["reward"]["is_training_reward"]
    assert (long["reward"]["score"], long["reward"]["grader"]) == (0.75, "tests")
    assert not long["style"]["is_training_reward"]
    assert long["progress"]["turn_index"] == 1
    assert (folder / long["reward"]["trajectory"]).is_file()
    [unstarted] = [line for line in lines if line["rollout_id"] == UNSTARTED]
    assert unstarted["trajectory"] is None


@pytest.mark.parametrize("rollout_id", ["../../x", "/etc/passwd", "a\x00b", "." * 200, "é/ß", ""])
def test_a_file_name_is_plain_and_in_its_folder(rollout_id: str) -> None:
    name = file_name(rollout_id)
    assert name.isascii()
    assert Path(name).name == name
    assert not name.startswith(".")
    assert len(name) < 120
    assert name != file_name(rollout_id + "x")


def branched(*turns: tuple[int | None, list[Message], str]) -> list[Any]:
    """A rollout of turns given as parent, new messages and reply."""
    events: list[Any] = [
        RolloutStarted(rollout_id="branched", task_key="t", environment="hand", substrate="test")
    ]
    for index, (parent, messages, reply) in enumerate(turns):
        events.append(
            TurnCompleted(
                rollout_id="branched",
                turn_index=index,
                parent_turn_index=parent,
                state_key=f"state-{index}",
                context_length=index,
                new_messages_json=canonical_text(messages),
                action_json=canonical_text({"role": "assistant", "content": reply}),
            )
        )
    return [*events, RolloutEnded(rollout_id="branched", stop_reason="completed", turn_count=len(turns))]


def test_branches_name_their_parent_and_repeat_no_message(tmp_path: Path) -> None:
    question: Message = {"role": "user", "content": "q"}
    correction: Message = {"role": "user", "content": "again"}
    events = branched((None, [question], "a"), (None, [question, correction], "b"), (0, [correction], "c"))
    lake = export_lake(str(tmp_path / "lake"), *events)
    export(lake, "traces", "atif", tmp_path / "out")
    entries = document_of(tmp_path / "out", "branched")[ENTRIES]
    assert [entry["message"] for entry in entries] == ["q", "a", "again", "b", "again", "c"]
    assert entries[2]["is_copied_context"]
    parents = [entry.get("extra", {}).get("tracelake", {}).get("parent_turn_index", "-") for entry in entries]
    assert parents == ["-", "-", "-", None, "-", 0]


# ---- round trips


def imported(documents: list[bytes], folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Documents after a round trip, by rollout; and the rollouts in the order of the sources."""
    lake = Lake.create(str(folder / "lake"))
    ids: list[str] = []
    with lake.writer("import") as writer:
        for number, data in enumerate(documents):
            source = source_of_bytes(f"run/{number}/trajectory.json", data)
            for piece in importer_for(source, "atif").read(source, ImportOptions()):
                assert isinstance(piece, ImportedRollout), piece
                writer.append(piece.events)
                ids.append(piece.rollout_id)
    build(lake, BuildParameters())
    lake.pin("traces", [table for table in ROLLOUT_TABLES if table in lake.tables()])
    export(lake, "traces", "atif", folder / "out")
    return {each: document_of(folder / "out", each) for each in ids}, ids


def comparable(value: Any) -> Any:
    """A document without what a round trip does not carry."""
    if isinstance(value, list):
        return [comparable(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if not isinstance(value, dict):
        return value
    fields = {key: comparable(item) for key, item in value.items() if key != "schema_version"}
    if isinstance(fields.get("extra"), dict):
        fields["extra"].pop("tracelake", None)
        if not fields["extra"]:
            del fields["extra"]
    return fields


DOCUMENT = {
    "schema_version": "ATIF-v1.7",
    "session_id": "session",
    "trajectory_id": "trajectory",
    "agent": {
        "name": "agent",
        "version": "1",
        "model_name": "model",
        "tool_definitions": [{"type": "function", "function": {"name": "bash"}}],
        "extra": {"temperature": 0.5},
    },
    "notes": "n",
    "continued_trajectory_ref": "next.json",
    "extra": {"root": [1, {"a": None}]},
    "final_metrics": {
        "total_prompt_tokens": 99,
        "total_completion_tokens": 98,
        "total_cached_tokens": 3,
        "total_cost_usd": 0.125,
        "total_steps": 7,
        "extra": {"wall": 1.5},
    },
    ENTRIES: [
        {"step_id": 1, "source": "system", "message": "s", "timestamp": "2026-01-02T03:04:05Z"},
        {"step_id": 2, "source": "user", "message": "u", "is_copied_context": True},
        {
            "step_id": 3,
            "source": "agent",
            "message": "copied",
            "is_copied_context": True,
            "tool_calls": [{"tool_call_id": "c0", "function_name": "bash", "arguments": {"command": "ls"}}],
            "observation": {"results": [{"content": "copied output"}]},
        },
        {
            "step_id": 4,
            "source": "system",
            "message": "summarised",
            "observation": {"results": [{"subagent_trajectory_ref": [{"trajectory_path": "sub.json"}]}]},
        },
        {"step_id": 5, "source": "user", "message": "go on", "extra": {"mood": "good"}},
        {
            "step_id": 6,
            "source": "agent",
            "model_name": "other",
            "timestamp": "2026-01-02T03:04:06.500000Z",
            "reasoning_effort": "low",
            "reasoning_content": "because",
            "message": "I look",
            "llm_call_count": 1,
            "tool_calls": [
                {
                    "tool_call_id": "c1",
                    "function_name": "bash",
                    "arguments": {"command": "cat", "n": 12345678901234567890123},
                    "extra": {"timeout": 3},
                },
                {"tool_call_id": "c2", "function_name": "bash", "arguments": {}},
            ],
            "observation": {
                "results": [
                    {"source_call_id": "c2", "content": "two", "extra": {"score": 1}},
                    {"source_call_id": "c1", "content": "one"},
                    {"content": "terminal"},
                ]
            },
            "metrics": {
                "prompt_tokens": 10,
                "completion_tokens": 3,
                "cached_tokens": 1,
                "cost_usd": 0.001,
                "prompt_token_ids": [1, 2, 3],
                "completion_token_ids": [4, 5, 6],
                "logprobs": [-0.1, -0.2, -0.30000000000000004],
                "extra": {"queue_ms": 4},
            },
            "extra": {"episode": 1},
        },
        {"step_id": 7, "source": "agent", "model_name": "other", "message": "done"},
    ],
}


def test_a_document_with_every_field_comes_back(tmp_path: Path) -> None:
    found, [rollout_id] = imported([json.dumps(DOCUMENT).encode()], tmp_path)
    after = comparable(found[rollout_id])
    assert after.pop("trajectory_id") == rollout_id
    before = comparable({key: value for key, value in DOCUMENT.items() if key != "trajectory_id"})
    assert after == before


@pytest.mark.realdata
def test_real_documents_come_back(real_traces: Callable[[str], Path], tmp_path: Path) -> None:
    paths = sorted(real_traces("harbor-atif").rglob("*trajectory*.json"))
    sources = [data for path in paths if b'"ATIF-v' in (data := path.read_bytes())]
    assert len(sources) == 7
    found, ids = imported(sources, tmp_path)
    for data, rollout_id in zip(sources, ids, strict=True):
        before, after = comparable(json.loads(data)), comparable(found[rollout_id])
        after.pop("trajectory_id")
        last_call = max(entry["step_id"] for entry in before[ENTRIES] if entry["source"] == "agent")
        before[ENTRIES] = before[ENTRIES][:last_call]
        assert after == before
