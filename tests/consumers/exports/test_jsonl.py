"""Tuples of state, action and reward, one per line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.consumers.exports.export_lake import LONG, OPENING, TOOLS, UNSTARTED
from tracelake.consumers.exports.export import export
from tracelake.lake import Lake


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_each_turn_has_its_whole_state_its_action_and_the_reward_of_its_rollout(
    lake: Lake, tmp_path: Path
) -> None:
    report = export(lake, "traces", "jsonl", tmp_path / "out")
    rows = lines(tmp_path / "out" / "turns.jsonl")
    assert report.rows == {"turns": len(rows)}
    first, second, third = [row for row in rows if row["rollout_id"] == LONG]
    assert first["state"] == OPENING
    assert second["state"] == [*OPENING, first["action"], {**second["state"][-1]}]
    assert second["state"][-1] == {"role": "tool", "tool_call_id": "call-cat x", "content": "x x…"}
    assert third["state"][-2:] == [second["action"], {"role": "user", "content": "no such file"}]
    assert third["action"]["content"] == "x x x"
    assert {row["reward"] for row in (first, second, third)} == {0.75}
    assert [row["turn_rewards"] for row in (first, third)] == [[], []]
    assert [(each["name"], each["score"]) for each in second["turn_rewards"]] == [("progress", -1.0)]
    assert first["tools"] == TOOLS
    assert first["tool_results"][0]["raw_output"] == "x x x x x x x"
    assert second["tool_results"][0]["error"] == "exit 1"


def test_token_ids_are_whole_and_numbers_have_their_shortest_digits(lake: Lake, tmp_path: Path) -> None:
    export(lake, "traces", "jsonl", tmp_path / "out")
    rows = [row for row in lines(tmp_path / "out" / "turns.jsonl") if row["rollout_id"] == LONG]
    assert [row["prompt_ids"] for row in rows] == [[10], [10, 20, 21, 11], [10, 20, 21, 11, 21, 21, 12]]
    assert rows[0]["sampling_logprobs"] == [-0.1, -0.25]
    text = next(row for row in lines(tmp_path / "out" / "turns.jsonl") if row["rollout_id"] != LONG)
    assert text["prompt_ids"] is None


def test_two_exports_of_a_pin_have_the_same_bytes(lake: Lake, tmp_path: Path) -> None:
    for name in ("one", "two"):
        export(lake, "traces", "jsonl", tmp_path / name)
    for file in ("turns.jsonl", "README.md"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_rollout_without_turns_is_counted(lake: Lake, tmp_path: Path) -> None:
    report = export(lake, "traces", "jsonl", tmp_path / "out")
    assert sum(report.left_out.values()) == 1
    assert UNSTARTED not in (tmp_path / "out" / "turns.jsonl").read_text(encoding="utf-8")
    assert "1 rollouts without a turn" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
