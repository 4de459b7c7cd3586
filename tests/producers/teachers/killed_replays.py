"""A replay that is killed again and again until it is done, and the proof that its books hold.

Method: a server that charges and counts by itself; the replay is a process, killed by SIGKILL once the server
has been asked a drawn number of times more. After each kill the lake is read as the next run will read it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import NamedTuple

import orjson

from tests.producers.teachers.priced_server import Books, PricedServer
from tests.producers.teachers.question_lake import question_lake
from tracelake.lake import Lake
from tracelake.producers.teachers.history import read_account, read_history

ROOT = Path(__file__).parents[3]
RUNS_MAX = 200


class Told(NamedTuple):
    """What the lake says at one time."""

    answers: frozenset[str]
    """By what the server calls the request."""
    answer_count: int
    settled_microusd: int
    unknown_microusd: int


class Outcome(NamedTuple):
    """What a replay that was killed came to."""

    kill_count: int
    run_count: int
    answer_count: int
    asked_again: int
    """Requests that were sent again while the lake held their answer."""
    resent_count: int
    """Requests that were under way when the process died, and were sent again."""
    charged_microusd: int
    problems: list[str]


def killed_until_done(
    folder: Path, seed: int, *, kills: int, trace_count: int = 10, turn_count: int = 10
) -> Outcome:
    """300 calls by default. After `kills` kills the replay is left alone; each kill comes while something is
    left to ask."""
    draws = Random(seed)
    uri = str(folder / "lake")
    question_lake(uri, trace_count=trace_count, turn_count=turn_count)
    wanted = trace_count * turn_count * 3
    problems: list[str] = []
    killed = 0
    # Small, so that the cap is met on the way; it is raised like people raise it.
    budget = 40_000
    with PricedServer(delay_s=0.01, seed=seed) as server:
        held: dict[str, int] = {}
        for run in range(RUNS_MAX):
            left = wanted - len(held)
            due = draws.randrange(max(left // (kills - killed + 1), 2)) if killed < kills else None
            code, done = _one_run(uri, server, budget, seed + run, due, draws)
            killed += code == -9
            books = server.books()
            told = _told(Lake.open(uri))
            problems += _checked(told, books, budget, held)
            if told.answer_count < len(held) + done:
                problems.append(f"{done} answers were said to be durable, {told.answer_count} are there")
            for name in told.answers:
                held.setdefault(name, books.asked[name])
            if code == 0:
                break
            if code == 4:
                budget += 2_000_000
            elif code not in (-9, 1):
                problems.append(f"run {run} ended with {code}")
                break
        books = server.books()
    if told.answer_count != wanted:
        problems.append(f"{told.answer_count} answers of {wanted}")
    again = sum(books.asked[name] - count for name, count in held.items())
    resent = sum(count - 1 for count in books.asked.values())
    return Outcome(killed, run + 1, told.answer_count, again, resent, books.charged_microusd, problems)


def _one_run(
    uri: str, server: PricedServer, budget: int, seed: int, due: int | None, draws: Random
) -> tuple[int, int]:
    """The exit code, -9 if it was killed; and how many answers it said were durable."""
    command = [sys.executable, "-m", "tests.producers.teachers.replay_child"]
    child = subprocess.Popen(
        [*command, uri, server.base_url, str(budget), str(seed)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    before = server.books().asked.total()
    while due is not None and child.poll() is None:
        if server.books().asked.total() - before >= due:
            time.sleep(draws.uniform(0, 0.02))
            child.kill()
            break
        time.sleep(0.001)
    said = (child.stdout.read() if child.stdout else "").split()
    return child.wait(), int(said[-1]) if said and said[-1].isdecimal() else 0


def _told(lake: Lake) -> Told:
    read_history(lake)
    account = read_account(lake, "killed")
    names: list[str] = []
    if "teacher_answered" in lake.tables():
        texts = lake.scan("teacher_answered").select("action_json").collect()["action_json"]
        names = [orjson.loads(text)["content"].split()[-1] for text in texts]
    unknown = sum(each.max_cost_microusd for each in account.unknown)
    return Told(frozenset(names), len(names), account.settled_microusd, unknown)


def _checked(told: Told, books: Books, budget: int, held: dict[str, int]) -> list[str]:
    problems: list[str] = []
    if books.charged_microusd > budget:
        problems.append(f"the server charged {books.charged_microusd} of {budget}")
    if told.settled_microusd + told.unknown_microusd > budget:
        problems.append(f"the lake tells {told.settled_microusd} + {told.unknown_microusd} of {budget}")
    if books.charged_microusd > told.settled_microusd + told.unknown_microusd:
        problems.append(f"the server charged {books.charged_microusd}, and the lake knows of less")
    if lost := set(held) - told.answers:
        problems.append(f"{len(lost)} answers are lost")
    if len(told.answers) != told.answer_count:
        problems.append("an answer is there twice")
    return problems
