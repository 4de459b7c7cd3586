"""Played rollouts as events.

**Samples keep full precision**: ids and logprobs are the sampler's, never re-tokenised.
**A record has whole prompts in memory; an event stores what its turn adds** (`schemas/tokens.py`).
**The same record gives the same events**, so landing them again is a no-op.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.environment import RolloutRecord, TurnRecord
from tracelake.schemas.events.event import Event
from tracelake.schemas.events.rollout_events import (
    RewardAssigned,
    RolloutEnded,
    RolloutStarted,
    ToolReturned,
    TurnCompleted,
)
from tracelake.schemas.message import StateHasher, tools_key
from tracelake.schemas.tokens import PromptEncoder


class RolloutContext(NamedTuple):
    """Facts that a record does not contain."""

    rollout_id: str
    environment: str
    model: str
    source_run: str
    group_id: str | None = None
    policy_version: int | None = None
    sampling: dict[str, float] | None = None
    chat_template_hash: str | None = None


def rollout_events(record: RolloutRecord, context: RolloutContext) -> list[Event]:
    """In the order in which they happened."""
    started = _started(record, context)
    state, prompts = StateHasher(started.tools_json), PromptEncoder()
    turns = [event for turn in record.turns for event in _turn_events(turn, context, state, prompts)]
    rewards = [
        RewardAssigned(rollout_id=context.rollout_id, name=name, score=score, grader=context.environment)
        for name, score in sorted(record.rewards.items())
    ]
    return [started, *turns, *rewards, _ended(record, context)]


def _started(record: RolloutRecord, context: RolloutContext) -> RolloutStarted:
    tools_json = canonical_text(list(record.tools))
    return RolloutStarted(
        rollout_id=context.rollout_id,
        task_key=f"{context.environment}/{record.task_id}",
        environment=context.environment,
        substrate="tracelake",
        source_run=context.source_run,
        group_id=context.group_id,
        model_requested=context.model,
        policy_version=context.policy_version,
        tools_json=tools_json,
        tools_key=tools_key(tools_json),
        sampling_json=canonical_text(dict(context.sampling or {}) | {"seed": record.seed}),
        task_json=canonical_text({"task_id": record.task_id, "task_hash": record.task_hash}),
        chat_template_hash=context.chat_template_hash,
    )


def _ended(record: RolloutRecord, context: RolloutContext) -> RolloutEnded:
    cut = record.stop_reason in ("max_turns", "max_tokens")
    return RolloutEnded(
        rollout_id=context.rollout_id,
        stop_reason=record.stop_reason,
        turn_count=len(record.turns),
        truncated=cut,
        truncated_by=record.stop_reason if cut else None,
        duration_ms=record.duration_ms,
    )


def _turn_events(
    turn: TurnRecord, context: RolloutContext, state: StateHasher, prompts: PromptEncoder
) -> Iterator[Event]:
    for message in turn.new_messages:
        state.add(message)
    yield _turn_completed(turn, context, state, prompts)
    state.add(turn.action.message)
    for call_index, call in enumerate(turn.tool_calls):
        outcome = call.outcome
        yield ToolReturned(
            rollout_id=context.rollout_id,
            turn_index=turn.turn_index,
            call_index=call_index,
            tool_call_id=call.tool_call_id,
            tool_name=call.name,
            raw_output=outcome.raw_output,
            visible_output=outcome.visible_output,
            visible_truncated=outcome.visible_output != outcome.raw_output,
            error=outcome.error,
            duration_ms=outcome.duration_ms,
        )


def _turn_completed(
    turn: TurnRecord, context: RolloutContext, state: StateHasher, prompts: PromptEncoder
) -> TurnCompleted:
    action, logprobs = turn.action, turn.action.sampling_logprobs
    cut = action.finish_reason == "length"
    parent = turn.turn_index - 1 if turn.turn_index else None
    delta = prompts.add(turn.turn_index, parent, action.prompt_ids, action.completion_ids)
    return TurnCompleted(
        rollout_id=context.rollout_id,
        turn_index=turn.turn_index,
        parent_turn_index=parent,
        state_key=state.key(),
        context_length=state.context_length,
        new_messages_json=canonical_text(list(turn.new_messages)),
        action_json=canonical_text(action.message),
        tool_call_count=len(turn.tool_calls),
        model_requested=context.model,
        model_served=context.model,
        finish_reason=action.finish_reason,
        truncated=cut,
        truncated_by="max_tokens" if cut else None,
        prompt_token_count=_length(action.prompt_ids),
        completion_token_count=_length(action.completion_ids),
        latency_ms=turn.latency_ms,
        new_prompt_ids=delta.new_prompt_ids,
        prompt_prefix_hash=delta.prompt_prefix_hash,
        prompt_retokenised=delta.prompt_retokenised,
        completion_ids=action.completion_ids,
        sampling_logprobs=None if logprobs is None else [float(value) for value in logprobs],
        logprob_source=None if logprobs is None else "sampler",
        policy_version_start=context.policy_version,
        policy_version_end=context.policy_version,
    )


def _length(ids: Sequence[int] | None) -> int | None:
    return None if ids is None else len(ids)
