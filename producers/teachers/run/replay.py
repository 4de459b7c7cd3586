"""Replaying traces to teachers: every missing answer is asked for once, within a budget.

Flow: questions → `prepare` (jobs that the lake lacks) → `ReplayRun` → `ReplayReport`.

**An answer in the lake is not asked for again**, whichever replay bought it.
**A replay continues where it was cut off**: its money is folded from its events, and an unknown cost counts
at its maximum until a router reports it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence

from tracelake.lake import Lake
from tracelake.producers.calling.retry import RetryPolicy
from tracelake.producers.teachers.asking.questions import Question, select
from tracelake.producers.teachers.forecast.plan import ReplayPlan, make_plan
from tracelake.producers.teachers.pricing.budget import BudgetState
from tracelake.producers.teachers.run.prepared import ReplayOptions, prepare
from tracelake.producers.teachers.run.replay_lock import replay_lock
from tracelake.producers.teachers.run.replay_report import Progress, ReplayReport
from tracelake.producers.teachers.run.replay_run import ReplayRun
from tracelake.producers.teachers.spec.teacher_file import Sampling, TeacherSpec
from tracelake.schemas.canonical import hash_of
from tracelake.schemas.errors import BadInputError

LOCAL_CONCURRENCY = 4
LOCAL_RETRIES = RetryPolicy(wait_first_s=0.01, wait_max_s=1.0)
"""A local endpoint answers at once, or not at all."""
TIERED_NOTE = (
    "expensive tiers are asked only where cheaper ones disagree: these are the most calls that there may be"
)


def plan_replay(lake: Lake, traces: str, specs: Sequence[TeacherSpec], options: ReplayOptions) -> ReplayPlan:
    """Sends nothing. Raises QueryError, BadInputError for a teacher without a price."""
    prepared = prepare(lake, select(lake, traces), specs, options)
    account = prepared.account
    unknown = sum(attempt.max_cost_microusd for attempt in account.unknown)
    plan = make_plan(
        lake,
        options.replay_id,
        prepared.questions,
        prepared.teachers,
        prepared.found,
        BudgetState(options.budget_microusd, account.settled_microusd, 0, unknown),
        options.concurrency,
    )
    return plan.model_copy(update={"notes": (*plan.notes, TIERED_NOTE)}) if options.tiered else plan


def replay(
    lake: Lake,
    questions: Sequence[Question],
    specs: Sequence[TeacherSpec],
    options: ReplayOptions,
    watch: Callable[[Progress], None] = lambda _: None,
) -> ReplayReport:
    """Blocks until everything was asked or the replay was stopped.

    Raises ReplayRunningError, BadInputError for a teacher without a price or a key, and what the lake raises.
    """
    keys = {spec.name: api_key(spec) for spec in specs}
    with replay_lock(lake, options.replay_id, breaks=options.breaks_lock):
        prepared = prepare(lake, questions, specs, options)
        with lake.writer(options.replay_id) as writer:
            return asyncio.run(ReplayRun(lake, writer, options, prepared, keys, watch).run())


def ask_local_teachers(
    lake: Lake,
    base_url: str,
    names: Sequence[str],
    questions: Sequence[Question],
    on_answer: Callable[[], None] = lambda: None,
) -> ReplayReport:
    """A replay to the free teachers of a local endpoint; `on_answer` is called for known answers too."""
    specs = [
        TeacherSpec(
            name=name, base_url=base_url, model=name, sampling=Sampling(temperature=0.0), price="free"
        )
        for name in names
    ]
    replay_id = f"ask-{hash_of(list(names))[:8]}"
    options = ReplayOptions(replay_id, concurrency=LOCAL_CONCURRENCY, policy=LOCAL_RETRIES)
    report = replay(lake, questions, specs, options, lambda _: on_answer())
    for _ in range(report.known_count):
        on_answer()
    return report


def api_key(spec: TeacherSpec) -> str | None:
    """From the environment. Raises BadInputError if it is missing, or no header can carry it."""
    if spec.api_key_env is None:
        return None
    key = os.environ.get(spec.api_key_env)
    if not key:
        raise BadInputError(
            f"teacher {spec.name} has no key",
            got=f"no environment variable {spec.api_key_env}",
            expected="the key of its endpoint",
            cure=f"export {spec.api_key_env}=…",
        )
    if not key.isascii() or not key.isprintable() or key != key.strip():
        raise BadInputError(
            f"the key of teacher {spec.name} cannot be sent in a header",
            got="line ends, spaces at an end, or characters beyond ASCII",
            expected="printable ASCII",
            cure=f"export {spec.api_key_env} again, without what was copied with the key.",
        )
    return key
