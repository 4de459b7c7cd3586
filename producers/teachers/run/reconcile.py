"""Asking a router what an attempt cost, of which nobody was told.

**It is asked under the id that the first chunk told.** An attempt without one, or of an endpoint that does
not say, stays unknown, at its maximum.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from decimal import Decimal

import httpx2
import openai
import orjson

from tracelake.producers.teachers.history import Unknown
from tracelake.producers.teachers.pricing.prices import microusd
from tracelake.producers.teachers.pricing.usage import read_cost
from tracelake.schemas.events.teacher_events import TeacherCallSettled

TIMEOUT_S = 20.0
AT_ONCE = 8


async def reconcile(
    unknown: Sequence[Unknown], clients: Mapping[str, openai.AsyncOpenAI]
) -> list[TeacherCallSettled]:
    """Settlements of attempts whose endpoint says what they cost; `clients` of such endpoints, by teacher."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def asked(attempt: Unknown) -> TeacherCallSettled | None:
        client = clients.get(attempt.teacher)
        if client is None or attempt.response_id is None:
            return None
        async with slots:
            cost = await generation_cost(client, attempt.response_id)
        if cost is None:
            return None
        return TeacherCallSettled(
            attempt_id=attempt.attempt_id, cost_microusd=microusd(cost), cost_source="reconciled"
        )

    settled = await asyncio.gather(*(asked(attempt) for attempt in unknown))
    return [settlement for settlement in settled if settlement is not None]


async def generation_cost(client: openai.AsyncOpenAI, response_id: str) -> Decimal | None:
    """Dollars; null where the endpoint does not say, or says what cannot be."""
    try:
        response = await client.get(
            "/generation",
            cast_to=httpx2.Response,
            options={"params": {"id": response_id}, "timeout": TIMEOUT_S},
        )
        told = orjson.loads(response.content)
    except (openai.APIError, httpx2.HTTPError, ValueError):
        return None
    data = told.get("data") if isinstance(told, dict) else None
    if not isinstance(data, dict):
        return None
    cost = read_cost(data.get("total_cost"))
    if data.get("is_byok") is not True or cost is None:
        return cost
    # With a key of one's own at the provider, the router's cost is its fee alone.
    upstream = read_cost(data.get("upstream_inference_cost"))
    return None if upstream is None else cost + upstream
