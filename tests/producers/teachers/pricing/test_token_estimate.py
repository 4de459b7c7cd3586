"""Goal: the prompt tokens of a request are bounded, and expected well enough to plan with.

Method: the counts that providers recorded, of 10,551 calls of one tokenizer and a hundred of others; contexts
are folded from the lake, as a replay folds them. Where text alone decides, arbitrary text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.producers.teachers.recorded_calls import recorded_calls
from tracelake.lake import Lake
from tracelake.producers.teachers.pricing.price_lists import litellm_prices
from tracelake.producers.teachers.pricing.prices import maximum_microusd, microusd
from tracelake.producers.teachers.pricing.token_estimate import Estimate, estimate, prompt_token_max
from tracelake.producers.teachers.pricing.usage import read_usage
from tracelake.schemas.context import CONTEXT_COLUMNS
from tracelake.schemas.errors import BadInputError

# The longest completion among the recorded calls is shorter.
COMPLETION_TOKEN_MAX = 8192
BASH = {"type": "function", "function": {"name": "bash", "parameters": {"type": "object"}}}


class Call(NamedTuple):
    rollout_id: str
    estimate: Estimate
    bound: int
    counted: int


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def body_of(content: Any, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [user(content)], **more}


@pytest.fixture(scope="module")
def calls(recorded_lake: Lake) -> list[Call]:
    return list(folded(recorded_lake))


def folded(lake: Lake) -> Iterator[Call]:
    """Every recorded call with what its context was estimated at."""
    columns = (*CONTEXT_COLUMNS, "prompt_token_count")
    turns = lake.scan("turn_completed").select(*columns).sort("rollout_id", "turn_index").collect()
    messages: list[Any] = []
    for rollout_id, turn_index, parent, new, action, counted in turns.iter_rows():
        # Each of these rollouts is one chain, so that the context grows turn by turn.
        assert parent == (turn_index - 1 if turn_index else None)
        messages = (messages if turn_index else []) + orjson.loads(new)
        body = {"model": "m", "messages": messages}
        yield Call(rollout_id, estimate(body), prompt_token_max(body), counted)
        messages.append(orjson.loads(action))


@pytest.mark.realdata
def test_no_recorded_prompt_was_longer_than_its_bound(calls: list[Call]) -> None:
    assert len(calls) == 10_551
    assert [call for call in calls if call.counted > call.bound] == []
    assert max(call.bound / call.counted for call in calls) < 5


@pytest.mark.realdata
def test_the_reservation_covers_the_cost_of_every_recorded_call(
    recorded_lake: Lake, litellm_list: Path, calls: list[Call]
) -> None:
    prices = litellm_prices(litellm_list, "deepseek/deepseek-chat")
    assert prices is not None
    costs = {
        (rollout_id, turn_index): cost
        for rollout_id, turn_index, cost in recorded_lake.scan("turn_completed")
        .select("rollout_id", "turn_index", "cost_usd")
        .collect()
        .iter_rows()
    }
    reserved = [maximum_microusd(prices, call.bound, COMPLETION_TOKEN_MAX) for call in calls]
    assert all(
        microusd(Decimal(repr(cost))) <= most
        for cost, most in zip((costs[key] for key in sorted(costs)), reserved, strict=True)
    )


@pytest.mark.realdata
def test_every_recorded_prompt_lies_within_its_interval(calls: list[Call]) -> None:
    assert [call for call in calls if not call.estimate.low <= call.counted <= call.estimate.high] == []
    ratios = [call.estimate.expected / call.counted for call in calls]
    assert 0.75 < min(ratios) < max(ratios) < 1.15


@pytest.mark.realdata
def test_sums_over_traces_are_expected_within_a_tenth(calls: list[Call]) -> None:
    traces: dict[str, list[Call]] = {}
    for call in calls:
        traces.setdefault(call.rollout_id, []).append(call)
    assert sum(len(trace) >= 100 for trace in traces.values()) == 28
    for trace in traces.values():
        counted = sum(call.counted for call in trace)
        expected, low, high = (sum(part) for part in zip(*(call.estimate for call in trace), strict=True))
        assert low <= counted <= high
        assert 0.9 < expected / counted < 1.1


@pytest.mark.realdata
def test_the_bound_is_right_for_other_tokenizers_too(real_traces: Callable[[str], Path]) -> None:
    """Except for one model that searches the web unasked. Requests without a bound are refused."""
    within = bounded = 0
    for _, request, usage in recorded_calls(real_traces("pydantic-ai-cassettes")):
        try:
            bound = prompt_token_max(request)
        except BadInputError:
            continue
        read = read_usage(usage).usage
        if read is None or request["model"] == "compound-beta":
            continue
        counted = read.prompt_token_count
        assert counted <= bound, request["model"]
        bounded += 1
        within += estimate(request).low <= counted <= estimate(request).high
    assert bounded >= 100
    assert within / bounded > 0.95


@given(st.text())
def test_a_text_has_fewer_tokens_than_its_bytes(text: str) -> None:
    assert prompt_token_max(body_of(text)) >= len(text.encode("utf-8", "surrogatepass"))


@given(st.text(), st.text())
def test_more_text_never_lowers_the_bound_or_the_estimate(text: str, more: str) -> None:
    shorter = {"messages": [user(text)]}
    longer = {"messages": [user(text), user(more)]}
    assert prompt_token_max(longer) >= prompt_token_max(shorter)
    assert all(after >= before for after, before in zip(estimate(longer), estimate(shorter), strict=True))


@given(st.text(), st.integers(0, 3))
def test_the_interval_contains_the_expectation_and_lies_below_the_bound(text: str, tools: int) -> None:
    body = body_of(text, tools=[BASH] * tools)
    expected, low, high = estimate(body)
    assert 1 <= low <= expected <= high
    assert low <= prompt_token_max(body)


def test_letters_beyond_ascii_are_counted_as_escapes_and_as_unfolded() -> None:
    plain = prompt_token_max(body_of("a" * 100))
    assert prompt_token_max(body_of("中" * 100)) - plain >= 500
    # One character that some tokenizers unfold into eighteen.
    assert prompt_token_max(body_of("\ufdfa" * 100)) - plain >= 3000
    assert prompt_token_max(body_of("\ud800")) > 0


def test_tools_and_calls_count_as_prompt() -> None:
    plain = estimate(body_of("x")).expected
    assert estimate(body_of("x", tools=[BASH])).expected > plain + 100
    assert prompt_token_max(body_of("x", tools=[BASH])) > prompt_token_max(body_of("x"))
    call = {"id": "c", "type": "function", "function": {"name": "bash", "arguments": '{"command": "ls -la"}'}}
    asked = {"messages": [user("x"), {"role": "assistant", "content": None, "tool_calls": [call]}]}
    assert estimate(asked).expected > plain + 40


@pytest.mark.parametrize(
    "body",
    [
        body_of([{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]),
        body_of([{"type": "text", "text": "see"}, {"type": "file", "file": {"file_id": "f"}}]),
        body_of(["see"]),
        body_of("x", tools=[{"type": "openrouter:web_search"}]),
        body_of("x", tools=[{"googleSearch": {}}]),
    ],
    ids=["image", "file", "no part", "router's tool", "provider's tool"],
)
def test_content_without_a_bound_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(BadInputError, match="has no bound in tokens"):
        prompt_token_max(body)


def test_text_parts_are_bounded_like_text() -> None:
    parts = [{"type": "text", "text": "see", "cache_control": {"type": "ephemeral"}}]
    assert prompt_token_max(body_of(parts)) > prompt_token_max(body_of("see"))
    assert estimate(body_of(parts)) == estimate(body_of("see"))
