"""One run of a replay as a process of its own, to be killed: `python -m … LAKE URL BUDGET SEED`.

It says `done N` after each answer that is durable, and ends with the code of its outcome: 0 whole, 4 budget,
1 something is left.
"""

from __future__ import annotations

import sys

from lake import Lake
from producers.teachers.calling.retry import RetryPolicy
from producers.teachers.prepared import ReplayOptions
from producers.teachers.questions import select
from producers.teachers.replay import replay
from producers.teachers.teacher_file import TeacherSpec
from tests.producers.teachers.question_lake import teacher

TEACHERS = ("a", "b", "c")
PRICE = {"input": 3, "output": 15}


def specs_at(url: str) -> list[TeacherSpec]:
    """Three teachers of a router, which can be asked what a call cost."""
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
