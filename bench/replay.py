"""Replaying to a teacher that is slow and refuses calls: wall clock, CPU, and answers lost or paid twice.

Usage: python bench/replay.py [--small] [--json] [--peers PYTHON]

Every system sends the same 300 questions to the same endpoint, 32 at a time: log-normal latencies, and one
request in twenty refused with a requested wait, both drawn by the number of the request, so that every
system meets the same ones. Each system runs in its own process, against a server in its own process, in
turn; medians are shown. Ours is all of `tracelake replay`, from choosing the questions to landed answers,
each call durably reserved before it is sent; the peers collect answers in memory, or in a log.

The wall clock is a multiple of the **ideal schedule** of what the server did in that run: its requests in
the order of arrival, each given to the first free slot, for as long as the server slept by its own clock; a
refusal takes no time, and its question comes back exactly when the refusal allows it, before new ones.
Nothing else takes time: no network, no server, no client.

**The limit of CPU is a peer**: no more than the OpenAI SDK takes for streams under `asyncio.gather`,
measured in the same minutes on the same machine.

`--peers` is the interpreter of the environment that bench/replay_peers.txt describes; without it only the
systems that need no other library are compared.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.replay_systems import MAX_TOKENS, MODEL
from bench.report import Figure, report
from tests.producers.teachers.question_lake import question_lake
from tracelake.lake import Lake
from tracelake.producers.teachers.asking.questions import select
from tracelake.producers.teachers.asking.request_body import request_body
from tracelake.producers.teachers.spec.teacher_file import TeacherSpec

ROOT = Path(__file__).parent.parent
OURS = "tracelake"
WITHOUT_LIBRARY = ("tracelake_auto", "gather_streamed")
PEERS = ("tracelake_auto", "inspect_ai", "gather_tenacity", "gather_streamed")
AT_ONCE = 32
TURNS = 5
OUTPUT_BYTES = 2000
"""Of each tool output: contexts have up to four."""
RETRY_AFTER_S = 1.0
WALL_MAX = 1.15
SDK = "gather_streamed"
"""The peer that limits the CPU of a call."""


class Case(NamedTuple):
    """The behaviour of the endpoint."""

    question_count: int
    median_ms: float
    rate_limited: float = 0.05

    def __str__(self) -> str:
        return f"{self.question_count} calls, {AT_ONCE} at a time, median {self.median_ms:g} ms"


class Ran(NamedTuple):
    """One run of one system."""

    of_ideal: float
    wall_s: float
    cpu_ms: float
    """Of a question."""
    lost: float
    paid_twice: float


class Call(NamedTuple):
    """One request, as the server recorded it."""

    asked: str
    """Hash of the messages."""
    scenario: str
    slept_s: float
    billed_microusd: int


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peers", default="")
    parser.add_argument("--repeats", type=int, default=0)
    given = parser.parse_args()
    peers = {name: sys.executable if name in WITHOUT_LIBRARY else given.peers for name in PEERS}
    systems = {OURS: sys.executable, **{name: python for name, python in peers.items() if python}}
    cases = [Case(60, 200)] if given.small else [Case(300, 300), Case(300, 1000)]
    repeats = given.repeats or (1 if given.small else 3)
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as scratch:
        for case in cases:
            _compare(case, systems, repeats, Path(scratch))


def _compare(case: Case, systems: dict[str, str], repeats: int, scratch: Path) -> None:
    runs: dict[str, list[Ran]] = {name: [] for name in systems}
    with _server(median_ms=1) as warm:
        for seed in range(repeats):
            for name, python in systems.items():
                with tempfile.TemporaryDirectory(dir=scratch) as folder:
                    runs[name].append(_run(name, python, case, seed, warm.url, Path(folder)))
    medians = {
        name: Ran(*(statistics.median(values) for values in zip(*found, strict=True)))
        for name, found in runs.items()
    }
    ours = medians.pop(OURS)

    def figure(unit: str, name: str, limit: float | None) -> Figure:
        of_peers = {peer: getattr(ran, name) for peer, ran in medians.items()}
        return Figure("replay", str(case), unit, getattr(ours, name), of_peers, limit, higher_is_better=False)

    report(
        [
            figure("x ideal wall clock", "of_ideal", WALL_MAX),
            figure("s wall clock", "wall_s", None),
            figure("ms CPU per call", "cpu_ms", medians[SDK].cpu_ms),
            figure("answers lost", "lost", 0.0),
            figure("answers paid twice", "paid_twice", 0.0),
        ]
    )


def _run(system: str, python: str, case: Case, seed: int, warm_url: str, folder: Path) -> Ran:
    for name, count in (("warm", TURNS), ("asked", case.question_count)):
        _write_questions(folder / name, count)
    limits = {"median_ms": case.median_ms, "rate_limited": case.rate_limited, "retry_after_s": RETRY_AFTER_S}
    with _server(seed=seed, **limits) as server:
        script = [python, str(ROOT / "bench" / "replay_systems.py"), system, str(folder)]
        urls = ["--url", server.url, "--warm-url", warm_url, "--at-once", str(AT_ONCE)]
        done = subprocess.run([*script, *urls], stdout=subprocess.PIPE, text=True, check=True)
        calls = server.calls()
    ran = json.loads(done.stdout.splitlines()[-1])
    billed = [call.asked for call in calls if call.billed_microusd]
    return Ran(
        ran["wall_s"] / ideal_s(calls, case.question_count, AT_ONCE, RETRY_AFTER_S),
        ran["wall_s"],
        ran["cpu_s"] * 1000 / case.question_count,
        case.question_count - ran["answers"],
        len(billed) - len(set(billed)),
    )


def ideal_s(calls: Sequence[Call], question_count: int, at_once: int, retry_after_s: float) -> float:
    """The end of the schedule that the module docstring describes."""
    slots, refused = [0.0] * at_once, list[float]()
    fresh, end_s = question_count, 0.0
    for call in calls:
        now_s = heapq.heappop(slots)
        if refused and (refused[0] <= now_s or not fresh):
            now_s = max(now_s, heapq.heappop(refused))
        elif fresh:
            fresh -= 1
        else:
            # Asking again after an answer is no part of the ideal.
            break
        if call.scenario == "rate_limited":
            heapq.heappush(refused, now_s + retry_after_s)
        free_s = now_s + call.slept_s
        heapq.heappush(slots, free_s)
        end_s = max(end_s, free_s)
    return end_s


def _write_questions(folder: Path, count: int) -> None:
    """As a lake, and as a list of chats."""
    folder.mkdir()
    output = "a line of some tool's output\n" * (OUTPUT_BYTES // 29)
    lake = question_lake(
        str(folder / "lake"), trace_count=count // TURNS, turn_count=TURNS, output=output, tools=False
    )
    (folder / "chats.json").write_text(json.dumps(_chats(lake)), encoding="utf-8")


def _chats(lake: Lake) -> list[Any]:
    fields = {"name": "one", "base_url": "http://127.0.0.1:9/v1", "model": MODEL}
    spec = TeacherSpec.model_validate({**fields, "sampling": {"max_tokens": MAX_TOKENS}})
    bodies = [request_body(spec, each.messages, each.tools, 0) for each in select(lake, "all")]
    return [body["messages"] for body in bodies]


class _Server:
    """A fault server in its own process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdout is not None
        self.url: str = json.loads(process.stdout.readline())["base_url"]

    def calls(self) -> list[Call]:
        """Ends the server; what it served."""
        output = self._process.communicate()[0]
        return [Call(*each) for each in json.loads(output.splitlines()[-1])["calls"]]


@contextmanager
def _server(**options: float) -> Iterator[_Server]:
    given = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.producers.teachers.fault_server", *given],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield _Server(process)
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
