"""A replay against an endpoint that fails by a drawn schedule, under a drawn budget; its money is checked."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.producers.teachers.priced_server import FAULTS, PricedServer
from tests.producers.teachers.question_lake import question_lake, teacher
from tracelake.producers.calling.retry import RetryPolicy
from tracelake.producers.teachers.asking.questions import select
from tracelake.producers.teachers.run.prepared import ReplayOptions
from tracelake.producers.teachers.run.replay import replay

PRICE = {"input": 3, "output": 15}
RUNS = 3
ROUNDING_USD = 1e-9


class Scheduled(NamedTuple):
    """The result of one schedule."""

    cap_microusd: int
    charged_microusd: int
    answer_count: int
    failure_count: int
    problems: list[str]

    @property
    def overshoot_microusd(self) -> int:
        return max(self.charged_microusd - self.cap_microusd, 0)


def asked_under_faults(folder: Path, seed: int) -> Scheduled:
    """Three runs of one replay of ten questions."""
    draws = Random(seed)
    cap, rate = draws.randrange(5_000, 120_000), draws.uniform(0.1, 0.8)
    lake = question_lake(str(folder / "lake"), turn_count=5)
    problems: list[str] = []
    with PricedServer(faults=FAULTS, fault_rate=rate, seed=seed, delay_s=0.002) as server:
        routed = {"enabled": draws.random() < 0.5}
        spec = teacher(server.base_url, price=PRICE, sampling={"max_tokens": 60}, routing=routed)
        policy = RetryPolicy(wait_first_s=0.001, seed=seed)
        options = ReplayOptions("scheduled", cap, concurrency=draws.randrange(1, 9), policy=policy)
        reports = [replay(lake, select(lake, "all"), [spec], options) for _ in range(RUNS)]
        charged = server.counts().charged_microusd
    for report in reports:
        if report.settled_usd + report.unknown_usd > cap / 10**6 + ROUNDING_USD:
            problems.append(f"{report.settled_usd} and {report.unknown_usd} unknown of {cap} micro-dollars")
    last = reports[-1]
    if charged / 10**6 > last.settled_usd + last.unknown_usd + ROUNDING_USD:
        problems.append(f"{charged} were charged, the lake knows of less")
    lake.project()
    found = lake.tables()
    keys = lake.scan("teacher_answered").collect() if "teacher_answered" in found else None
    answer_count = 0 if keys is None else keys.height
    if keys is not None and not keys.select("request_key", "sample_index").is_unique().all():
        problems.append("an answer was bought twice")
    if answer_count != sum(report.answered_count for report in reports):
        problems.append("answers do not add up")
    failures = sum(sum(each.failures.values()) for report in reports for each in report.teachers)
    scheduled = Scheduled(cap, charged, answer_count, failures, problems)
    if scheduled.overshoot_microusd:
        problems.append(f"{charged} were charged of {cap}")
    return scheduled
