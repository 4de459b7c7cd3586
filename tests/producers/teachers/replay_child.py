"""One run of a replay in its own process, to be killed: `python -m … LAKE URL BUDGET SEED`.

It prints `done N` after each durable answer. Exit codes: 0 complete, 4 stopped, 1 something is left.
"""

from __future__ import annotations

import sys

from tests.producers.teachers.question_lake import teacher
from tracelake.lake import Lake
from tracelake.producers.calling.retry import RetryPolicy
from tracelake.producers.teachers.asking.questions import select
from tracelake.producers.teachers.run.prepared import ReplayOptions
from tracelake.producers.teachers.run.replay import replay
from tracelake.producers.teachers.spec.teacher_file import TeacherSpec

TEACHERS = ("a", "b", "c")
PRICE = {"input": 3, "output": 15}


def specs_at(url: str) -> list[TeacherSpec]:
    """Three teachers of a router, which can be asked for the cost of a call."""
    shared = {"price": PRICE, "sampling": {"max_tokens": 60}, "routing": {"enabled": True}}
    return [teacher(url, name=name, **shared) for name in TEACHERS]


def main(uri: str, url: str, budget: str, seed: str) -> int:
    lake = Lake.open(uri)
    policy = RetryPolicy(wait_first_s=0.001, seed=int(seed))
    options = ReplayOptions("killed", int(budget), concurrency=4, policy=policy)
    report = replay(
        lake,
        select(lake, "all"),
        specs_at(url),
        options,
        lambda now: print(f"done {now.done_count}", flush=True),
    )
    if report.stopped is not None:
        return 4
    return 1 if report.left_count else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
