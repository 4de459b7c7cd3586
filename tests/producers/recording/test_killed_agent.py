"""Goal: what was acknowledged before a kill is there, and the rollout is visibly unfinished.

Method: a real agent in a process of its own, killed after some turns that it said were durable.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.producers.recording.openai_server import OpenAiServer
from tests.producers.recording.recorded import contexts, rows, turns
from tracelake import Lake, record
from tracelake.schemas.errors import RecordingError

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("turn_count", [1, 7])
def test_acknowledged_turns_survive_a_kill(fresh_lake: Lake, server: OpenAiServer, turn_count: int) -> None:
    command = [sys.executable, "-m", "tests.producers.recording.agent_child", fresh_lake.uri, server.base_url]
    agent = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert agent.stdout is not None
    with agent.stdout as said:
        acknowledged = 0
        while acknowledged < turn_count:
            acknowledged = int(said.readline())
        os.kill(agent.pid, signal.SIGKILL)
        acknowledged = max([acknowledged, *map(int, said.read().split())])
    assert agent.wait(20) == -signal.SIGKILL
    lake = Lake.open(fresh_lake.uri)
    found, results = turns(lake), rows(lake, "tool_returned")
    assert acknowledged <= len(found) <= acknowledged + 1
    assert acknowledged <= len(results) <= len(found)
    assert [turn["parent_turn_index"] for turn in found[1:]] == list(range(len(found) - 1))
    assert [len(context) for context in contexts(lake)] == [3 * index + 1 for index in range(len(found))]
    [started] = rows(lake, "rollout_started")
    assert rows(lake, "rollout_ended") == []
    assert lake.verify().problems == ()
    # Its id is taken, although the rollout has no end.
    again = record.rollout(lake, task="endless", environment="tests", rollout_id=started["rollout_id"])
    with pytest.raises(RecordingError, match="recorded before"), again:
        pass
