"""Probing a teacher like asking it: money is reserved before, and settled after.

**A probe is one attempt**: its reservation covers the most that all its requests can cost.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal

from tracelake.lake import Lake
from tracelake.producers.teachers.asking.jobs import PricedTeacher
from tracelake.producers.teachers.history import read_history
from tracelake.producers.teachers.pricing.price_lists import reserved_prices
from tracelake.producers.teachers.pricing.prices import exact_cost_usd, maximum_microusd, microusd
from tracelake.producers.teachers.pricing.usage import read_usage
from tracelake.producers.teachers.probe.capabilities import Capabilities, probe
from tracelake.schemas.canonical import hash_of
from tracelake.schemas.errors import BudgetExhaustedError
from tracelake.schemas.events.teacher_events import SettledBy, TeacherCallReserved, TeacherCallSettled

PROBE = "probe"
REQUEST_COUNT = 9
PROMPT_TOKEN_MAX, COMPLETION_TOKEN_MAX = 2000, 64
"""Of one of its requests."""


def probe_teacher(
    lake: Lake, teacher: PricedTeacher, api_key: str | None, budget_microusd: int
) -> Capabilities:
    """Raises BudgetExhaustedError if the probe may cost more than the budget."""
    prices = reserved_prices(teacher.spec, teacher.prices)
    each = maximum_microusd(prices, PROMPT_TOKEN_MAX, COMPLETION_TOKEN_MAX)
    if each * REQUEST_COUNT > budget_microusd:
        raise BudgetExhaustedError(
            f"a probe of {teacher.spec.name} may exceed its budget",
            got=f"{budget_microusd} micro-dollars",
            expected=f"{each * REQUEST_COUNT}",
            cure="Raise it by --budget.",
        )
    reserved = _reserved(lake, teacher, each * REQUEST_COUNT)
    with lake.writer(PROBE) as writer:
        writer.append([reserved])
        found = asyncio.run(
            probe(
                teacher.spec.base_url,
                teacher.spec.model,
                api_key,
                extra_body=teacher.spec.routing.extra_body(),
                timeout_s=teacher.spec.limits.request_timeout_s,
            )
        )
        writer.append([_settled(teacher, found, reserved)])
    return found


def _reserved(lake: Lake, teacher: PricedTeacher, maximum: int) -> TeacherCallReserved:
    key = hash_of([PROBE, teacher.spec.identity()])
    number = read_history(lake).attempt_count.get((key, 0), 0)
    return TeacherCallReserved(
        attempt_id=hash_of([PROBE, key, number])[:32],
        replay_id=PROBE,
        request_key=key,
        attempt_index=number,
        state_key=PROBE,
        teacher=teacher.name,
        rollout_id=PROBE,
        turn_index=0,
        max_cost_microusd=maximum,
    )


def _settled(
    teacher: PricedTeacher, found: Capabilities, reserved: TeacherCallReserved
) -> TeacherCallSettled:
    """The maximum, unless every request was refused or reported its usage."""
    cost, stated = Decimal(0), 0
    read = [read_usage(usage) for usage in found.usages]
    for each in read:
        if each.cost_usd is not None:
            cost, stated = cost + each.cost_usd, stated + 1
        elif each.usage is not None:
            cost += exact_cost_usd(teacher.prices, each.usage)
    known = sum(each.cost_usd is not None or each.usage is not None for each in read)
    refused = sum(refusal.http_status is not None and refusal.http_status < 500 for refusal in found.refusals)
    source: SettledBy = "provider" if stated == known else "price_table"
    amount = microusd(cost)
    if known + refused < REQUEST_COUNT and reserved.max_cost_microusd:
        source, amount = "maximum", reserved.max_cost_microusd
    return TeacherCallSettled(attempt_id=reserved.attempt_id, cost_microusd=amount, cost_source=source)
