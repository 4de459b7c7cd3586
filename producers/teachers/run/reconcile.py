"""Asking a router for the cost of attempts that ended without one.

**The router is asked with the response id of the first chunk.** An attempt without one, or at an endpoint
that does not answer, stays unknown, at its maximum.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from decimal import Decimal

from tracelake.producers.calling.answer_shape import AnswerShapeError, decoded
from tracelake.producers.calling.http_client import ConnectionLostError, EndpointClient, NotSentError
from tracelake.producers.teachers.history import UnknownCost
from tracelake.producers.teachers.pricing.prices import microusd
from tracelake.producers.teachers.pricing.usage import read_cost
from tracelake.schemas.events.teacher_events import TeacherCallSettled

TIMEOUT_S = 20.0
BODY_BYTE_MAX = 2**20
AT_ONCE = 8


async def reconcile(
    unknown: Sequence[UnknownCost], clients: Mapping[str, EndpointClient]
) -> list[TeacherCallSettled]:
    """Settlements of the attempts whose router reports a cost; `clients` of such routers, by teacher."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def settlement(attempt: UnknownCost) -> TeacherCallSettled | None:
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

    settled = await asyncio.gather(*(settlement(attempt) for attempt in unknown))
    return [each for each in settled if each is not None]


async def generation_cost(client: EndpointClient, response_id: str) -> Decimal | None:
    """Dollars; null if the router reports none, or one that cannot be true."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            answer = await client.get("/generation", {"id": response_id}, connect_timeout_s=TIMEOUT_S)
            text = await answer.read(BODY_BYTE_MAX)
        body = decoded(text) if answer.is_success else None
    except (NotSentError, ConnectionLostError, AnswerShapeError, TimeoutError):
        return None
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, dict):
        return None
    cost = read_cost(data.get("total_cost"))
    if data.get("is_byok") is not True or cost is None:
        return cost
    # With the caller's own key at the provider, the router's cost is its fee alone.
    upstream = read_cost(data.get("upstream_inference_cost"))
    return None if upstream is None else cost + upstream
