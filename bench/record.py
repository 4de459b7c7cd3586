"""Benchmark: what recording adds to each turn of an agent.

Usage: python bench/record.py [--small] [--json]

An agent asks a local OpenAI-compatible server in a process of its own, which answers at once; each turn
adds a reply with a tool call and the tool's output to the context. The same agent runs with the bare client
and recorded, turn by turn alternately, so that a drift of the machine affects both. Shown is what recording
adds to a turn: milliseconds of the clock, the median of all pairs, and of the processor, the mean, which
contains the work of the lake's thread.

**The limit is 2 ms a turn.** A model takes hundreds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

from openai import OpenAI

from bench.report import Figure, report
from tracelake import Lake, record

ROOT = Path(__file__).parent.parent
LIMIT_MS = 2.0
OUTPUT_BYTES = 1200
"""Of each tool output: about 300 tokens."""
TOOL_S = 0.01
"""Between two turns, as a fast tool would take."""
TOOL_NAMES = ("bash", "edit", "search", "submit")
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": name, "description": name * 20}} for name in TOOL_NAMES
]


class Turn(NamedTuple):
    """What one turn took of the agent."""

    wall_ms: float
    """Until the agent went on to its tool."""
    cpu_ms: float
    """Of this process, until the next turn."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    turn_count, rollout_count = (20, 2) if given.small else (100, 2)
    figures: list[Figure] = []
    with server() as base_url, tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as folder:
        for streamed in (False, True):
            case = f"{turn_count} turns, {'streamed' if streamed else 'whole'}"
            figures += compare(base_url, Path(folder) / case, case, turn_count, rollout_count, streamed)
    report(figures)


def compare(
    base_url: str, folder: Path, case: str, turn_count: int, rollout_count: int, streamed: bool
) -> list[Figure]:
    lake = Lake.create(str(folder))
    bare = OpenAI(base_url=base_url, api_key="none")
    recorded = record.wrap(bare)
    pairs: list[tuple[Turn, Turn]] = []
    with record.rollout(lake, task="warm-up", environment="bench") as rollout:
        turn(recorded, [user()], rollout, streamed)
        turn(bare, [user()], None, streamed)
    for number in range(rollout_count):
        with record.rollout(lake, task=f"task-{number}", environment="bench") as rollout:
            contexts: tuple[list[Any], list[Any]] = ([user()], [user()])
            for _ in range(turn_count):
                alone = turn(bare, contexts[0], None, streamed)
                pairs.append((alone, turn(recorded, contexts[1], rollout, streamed)))
    record.close(lake)
    wall = [(alone.wall_ms, ours.wall_ms) for alone, ours in pairs]
    cpu = [(alone.cpu_ms, ours.cpu_ms) for alone, ours in pairs]
    return [
        figure(case, "added to a turn", statistics.median, wall, LIMIT_MS),
        figure(case, "of the processor added to a turn", statistics.fmean, cpu, None),
    ]


def figure(
    case: str,
    what: str,
    average: Callable[[list[float]], float],
    pairs: list[tuple[float, float]],
    limit: Any,
) -> Figure:
    added_ms = average([ours - alone for alone, ours in pairs])
    bare_ms = average([alone for alone, _ in pairs])
    unit = f"ms {what}, {(bare_ms + added_ms) / bare_ms:.2f} x the bare client"
    return Figure("record", case, unit, added_ms, {"bare turn": bare_ms}, limit, higher_is_better=False)


def user() -> dict[str, Any]:
    return {"role": "user", "content": "call bash"}


def turn(client: OpenAI, messages: list[Any], rollout: record.Rollout | None, streamed: bool) -> Turn:
    """One model call and its tool result."""
    start, start_cpu = perf_counter(), process_time()
    if streamed:
        chunks = list(client.chat.completions.create(model="m", messages=messages, tools=TOOLS, stream=True))
        [begun] = [chunk for chunk in chunks if chunk.choices and chunk.choices[0].delta.tool_calls][:1]
        call_id = (begun.choices[0].delta.tool_calls or [])[0].id
    else:
        reply = client.chat.completions.create(model="m", messages=messages, tools=TOOLS)
        call_id = (reply.choices[0].message.tool_calls or [])[0].id
    output = f"call bash {'x' * OUTPUT_BYTES}"
    if rollout is not None:
        rollout.tool(call_id, output, return_code=0)
    wall_ms = (perf_counter() - start) * 1000
    function = {"name": "bash", "arguments": "{}"}
    calls = [{"id": call_id, "type": "function", "function": function}]
    messages.append({"role": "assistant", "content": None, "tool_calls": calls})
    messages.append({"role": "tool", "tool_call_id": call_id, "content": output})
    time.sleep(TOOL_S)
    return Turn(wall_ms, (process_time() - start_cpu) * 1000)


@contextmanager
def server() -> Iterator[str]:
    command = [sys.executable, "-m", "tests.producers.recording.openai_server"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
