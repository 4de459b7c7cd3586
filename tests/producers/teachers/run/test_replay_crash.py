"""Goal: kill -9 at any time costs at most the calls in flight: no answer is lost, none is paid for twice, and
the server's own count stays within the budget.

Method: `killed_replays`; a few kills here, and many by `python -m tests.faults --only replays`.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.producers.teachers.killed_replays import ROOT, killed_until_done
from tests.producers.teachers.priced_server import PricedServer
from tests.producers.teachers.question_lake import question_lake


def test_an_interrupt_lands_calls_in_flight_and_sends_nothing_more(tmp_path: Path) -> None:
    lake = question_lake(str(tmp_path / "lake"), trace_count=10, turn_count=10)
    with PricedServer(delay_s=0.3) as server:
        command = [sys.executable, "-m", "tests.producers.teachers.replay_child"]
        child = subprocess.Popen([*command, lake.uri, server.base_url, "10000000", "1"], cwd=ROOT)
        while not server.counts().answered.total():
            time.sleep(0.01)
        child.send_signal(signal.SIGINT)
        assert child.wait(60) == 4
        served = server.counts()
    assert served.asked == served.answered
    assert 0 < served.asked.total() < 300
    lake.project()
    assert lake.scan("teacher_answered").collect().height == served.answered.total()
    settled = lake.scan("teacher_call_settled").collect()
    assert settled["cost_microusd"].sum() == served.charged_microusd


@pytest.mark.parametrize("seed", [1])
def test_a_killed_replay_continues_where_it_was(tmp_path: Path, seed: int) -> None:
    outcome = killed_until_done(tmp_path, seed, kills=3)
    assert outcome.problems == []
    assert outcome.asked_again == 0
    assert outcome.answer_count == 300
    assert outcome.kill_count == 3
