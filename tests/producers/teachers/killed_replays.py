"""A replay that is killed again and again until it is done, with checks of its money after each kill.

Method: a server that charges and counts by itself; the replay is a process, killed by SIGKILL once the server
was asked a drawn number of times more. After each kill the lake is read as the next run will read it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import NamedTuple

import orjson

from tests.producers.teachers.priced_server import PricedServer, ServerCounts
from tests.producers.teachers.question_lake import question_lake
from tracelake.lake import Lake
from tracelake.producers.teachers.history import read_account, read_history

ROOT = Path(__file__).parents[3]
RUNS_MAX = 200


class LakeState(NamedTuple):
    """What the lake contains at one time."""

    answers: frozenset[str]
    """By the server's name of the request."""
    answer_count: int
    settled_microusd: int
    unknown_microusd: int


class KilledReplay(NamedTuple):
    """The result of a replay that was killed several times."""

    kill_count: int
    run_count: int
    answer_count: int
    asked_again: int
    """Requests that were sent again although the lake had their answer."""
    resent_count: int
    """Requests that were in flight when the process died, and were sent again."""
    charged_microusd: int
    problems: list[str]


def killed_until_done(
    folder: Path, seed: int, *, kills: int, trace_count: int = 10, turn_count: int = 10
) -> KilledReplay:
    """300 calls by default. Each of the `kills` kills comes while something is left to ask."""
    draws = Random(seed)
    uri = str(folder / "lake")
    question_lake(uri, trace_count=trace_count, turn_count=turn_count)
    wanted = trace_count * turn_count * 3
    problems: list[str] = []
    killed = 0
    # Small, so that the cap is met on the way; it is raised then, as people do.
    budget = 40_000
    with PricedServer(delay_s=0.01, seed=seed) as server:
        asked_at_landing: dict[str, int] = {}
        """Per answer in the lake, how often it had been asked for when it was first seen there."""
        for run in range(RUNS_MAX):
            left = wanted - len(asked_at_landing)
            due = draws.randrange(max(left // (kills - killed + 1), 2)) if killed < kills else None
            code, done = _one_run(uri, server, budget, seed + run, due, draws)
            killed += code == -9
            counts = server.counts()
            state = _lake_state(Lake.open(uri))
            problems += _problems(state, counts, budget, set(asked_at_landing))
            if state.answer_count < len(asked_at_landing) + done:
                problems.append(f"{done} answers were reported durable, {state.answer_count} are there")
            for name in state.answers:
                asked_at_landing.setdefault(name, counts.asked[name])
            if code == 0:
                break
            if code == 4:
                budget += 2_000_000
            elif code not in (-9, 1):
                problems.append(f"run {run} ended with {code}")
                break
        counts = server.counts()
    if state.answer_count != wanted:
        problems.append(f"{state.answer_count} answers of {wanted}")
    again = sum(counts.asked[name] - count for name, count in asked_at_landing.items())
    resent = sum(count - 1 for count in counts.asked.values())
    return KilledReplay(killed, run + 1, state.answer_count, again, resent, counts.charged_microusd, problems)


def _one_run(
    uri: str, server: PricedServer, budget: int, seed: int, due: int | None, draws: Random
) -> tuple[int, int]:
    """The exit code, -9 if it was killed; and how many answers it reported durable."""
    command = [sys.executable, "-m", "tests.producers.teachers.replay_child"]
    child = subprocess.Popen(
        [*command, uri, server.base_url, str(budget), str(seed)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    before = server.counts().asked.total()
    while due is not None and child.poll() is None:
        if server.counts().asked.total() - before >= due:
            time.sleep(draws.uniform(0, 0.02))
            child.kill()
            break
        time.sleep(0.001)
    output = (child.stdout.read() if child.stdout else "").split()
    return child.wait(), int(output[-1]) if output and output[-1].isdecimal() else 0


def _lake_state(lake: Lake) -> LakeState:
    read_history(lake)
    account = read_account(lake, "killed")
    names: list[str] = []
    if "teacher_answered" in lake.tables():
        texts = lake.scan("teacher_answered").select("action_json").collect()["action_json"]
        names = [orjson.loads(text)["content"].split()[-1] for text in texts]
    unknown = sum(each.max_cost_microusd for each in account.unknown)
    return LakeState(frozenset(names), len(names), account.settled_microusd, unknown)


def _problems(state: LakeState, counts: ServerCounts, budget: int, landed: set[str]) -> list[str]:
    problems: list[str] = []
    if counts.charged_microusd > budget:
        problems.append(f"the server charged {counts.charged_microusd} of {budget}")
    if state.settled_microusd + state.unknown_microusd > budget:
        problems.append(f"the lake has {state.settled_microusd} + {state.unknown_microusd} of {budget}")
    if counts.charged_microusd > state.settled_microusd + state.unknown_microusd:
        problems.append(f"the server charged {counts.charged_microusd}, and the lake knows of less")
    if lost := landed - state.answers:
        problems.append(f"{len(lost)} answers are lost")
    if len(state.answers) != state.answer_count:
        problems.append("an answer is there twice")
    return problems
