"""Goal: the example agent and the README's snippet run as they stand, and everything of them is recorded.

Method: both run in a process of their own and ask a local server over HTTP, the example the local teachers.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.producers.recording.openai_server import OpenAiServer
from tests.producers.recording.recorded import contexts, rows, turns
from tracelake import Lake
from tracelake.producers.local_teachers.server import TeacherServer

ROOT = Path(__file__).parents[3]
TASKS = 5


def run(arguments: list[str], folder: Path, base_url: str) -> None:
    environment = os.environ | {"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": "none"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr == ""


def test_the_example_records_rollouts_turns_results_rewards_and_usage(tmp_path: Path) -> None:
    with TeacherServer() as server:
        run([str(ROOT / "examples" / "record_agent.py"), "lake"], tmp_path, server.base_url)
    lake = Lake.open(str(tmp_path / "lake"))
    started, ended = rows(lake, "rollout_started"), rows(lake, "rollout_ended")
    found, results, rewards = turns(lake), rows(lake, "tool_returned"), rows(lake, "reward_assigned")
    assert len(started) == len(ended) == TASKS
    assert {row["environment"] for row in started} == {"tiny-functions"}
    assert all(json.loads(row["tools_json"]) and row["task_key"] for row in started)
    assert sum(row["turn_count"] for row in ended) == len(found) >= 2 * TASKS
    assert {row["stop_reason"] for row in ended} <= {"completed", "max_turns"}
    assert sum(turn["tool_call_count"] for turn in found) == len(results)
    assert all(row["raw_output"] and row["visible_output"] and row["tool_name"] for row in results)
    assert sorted(row["name"] for row in rewards) == sorted(["reward", "fraction_passed"] * TASKS)
    assert all(turn["prompt_token_count"] and turn["completion_token_count"] for turn in found)
    assert all(turn["latency_ms"] > 0 and turn["response_id"] and turn["state_key"] for turn in found)
    # Each context ends with the result of the call before.
    lengths = [(turn["turn_index"], turn["context_length"]) for turn in found]
    assert lengths == [(index, 2 * index + 1) for index, _ in lengths]
    assert [len(context) for context in contexts(lake)] == [length for _, length in lengths]
    # The end of the program has landed everything and closed the writer.
    ledger = lake.ledger()
    assert (ledger.problems, ledger.closed_writers, ledger.cut_off_writers) == ([], 1, 0)


def test_the_snippet_of_the_readme_runs(tmp_path: Path, server: OpenAiServer) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"## Record your own agent.*?```python\n(.*?)```", text, re.DOTALL)
    assert block
    assert len(block[1].strip().splitlines()) <= 12
    (tmp_path / "snippet.py").write_text(block[1], encoding="utf-8")
    run(["snippet.py"], tmp_path, server.base_url)
    lake = Lake.open(str(tmp_path / "my-lake"))
    [ended], found = rows(lake, "rollout_ended"), turns(lake)
    assert (ended["stop_reason"], ended["turn_count"]) == ("completed", len(found))
    assert len(rows(lake, "tool_returned")) == sum(turn["tool_call_count"] for turn in found) == 1
    assert [row["score"] for row in rows(lake, "reward_assigned")] == [1.0]
