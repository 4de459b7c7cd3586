"""The one multi-turn loop: collection, GRPO training and evaluation all play their rollouts here.

Flow: reset all → one batched model call per turn over the unfinished rollouts → their tool calls → … →
rewards → RolloutRecords.

**Nothing is tokenised twice**: a turn's context starts with the ids that were sent and sampled before it.
**Each rollout has its own seed**, so its draws do not depend on its batch.
**A rollout ends** when its environment is done (`completed`), at the turn limit (`max_turns`), when a
completion was cut (`max_tokens`), or when an action calls no tool (`parse_error`). It is scored in any case.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from tracelake.schemas.clock import now_s, since_ms
from tracelake.schemas.environment import (
    Environment,
    Policy,
    PolicyAction,
    RolloutRecord,
    TaskIdentity,
    ToolCallRecord,
    TurnRecord,
)
from tracelake.schemas.errors import BadInputError, TrainingError
from tracelake.schemas.events.rollout_events import StopReason
from tracelake.schemas.message import Message, tool_calls_of


def play_rollouts(
    policy: Policy,
    environments: Sequence[Environment],
    tasks: Sequence[TaskIdentity],
    *,
    turn_limit: int,
    seed: int,
) -> list[RolloutRecord]:
    """One rollout per task, in order. A task may repeat, for a group: its rollouts differ in their seeds.

    environments: at least as many as tasks, all with the same tools.
    """
    if len(environments) < len(tasks):
        raise BadInputError(
            "too few environments for lockstep",
            got=len(environments),
            expected=f"at least {len(tasks)}",
            cure="Play fewer tasks at once.",
        )
    rollouts = [
        _LiveRollout(environment, task, rollout_seed(seed, index))
        for index, (environment, task) in enumerate(zip(environments, tasks, strict=False))
    ]
    for turn_index in range(turn_limit):
        live = [rollout for rollout in rollouts if rollout.stop_reason is None]
        if not live:
            break
        _play_turn(policy, live, turn_index)
    return [rollout.record() for rollout in rollouts]


def rollout_seed(seed: int, index: int) -> int:
    """63 bits, a hash of both numbers."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{index}".encode()).digest()[:8], "big") >> 1


class _LiveRollout:
    """One rollout in progress."""

    def __init__(self, environment: Environment, task: TaskIdentity, seed: int) -> None:
        self.started = now_s()
        self.environment = environment
        self.task = task
        self.seed = seed
        self.stop_reason: StopReason | None = None
        self.new_messages: list[Message] = environment.reset(task)
        self.context: list[Message] = list(self.new_messages)
        self.prefix_ids: tuple[int, ...] | None = None
        self.turns: list[TurnRecord] = []

    def take(self, action: PolicyAction, latency_ms: float) -> None:
        """Append an action, execute its calls and append their results."""
        if action.prompt_ids is not None and action.completion_ids is not None:
            self.prefix_ids = action.prompt_ids + action.completion_ids
        calls = self._execute(action)
        turn = TurnRecord(len(self.turns), tuple(self.new_messages), action, latency_ms, calls)
        self.turns.append(turn)
        self.new_messages = [
            {"role": "tool", "tool_call_id": call.tool_call_id, "content": call.outcome.visible_output}
            for call in calls
        ]
        self.context += [action.message, *self.new_messages]

    def _execute(self, action: PolicyAction) -> tuple[ToolCallRecord, ...]:
        if action.finish_reason == "length":
            self.stop_reason = "max_tokens"
            return ()
        records: list[ToolCallRecord] = []
        for call_id, name, arguments in tool_calls_of(action.message):
            outcome = self.environment.call(name or "", arguments)
            records.append(ToolCallRecord(call_id, name or "", arguments, outcome))
            if outcome.done:
                self.stop_reason = "completed"
        if not records:
            self.stop_reason = "parse_error"
        return tuple(records)

    def record(self) -> RolloutRecord:
        rewards = self.environment.rewards()
        return RolloutRecord(
            task_id=self.task.task_id,
            task_hash=self.task.task_hash,
            seed=self.seed,
            turns=tuple(self.turns),
            tools=tuple(self.environment.tools),
            final_messages=tuple(self.new_messages),
            rewards=rewards,
            stop_reason=self.stop_reason or "max_turns",
            duration_ms=since_ms(self.started),
        )


def _play_turn(policy: Policy, live: Sequence[_LiveRollout], turn_index: int) -> None:
    started = now_s()
    actions = policy.act(
        [rollout.context for rollout in live],
        live[0].environment.tools,
        seeds=[rollout_seed(rollout.seed, turn_index) for rollout in live],
        prefix_ids=[rollout.prefix_ids for rollout in live],
    )
    latency_ms = since_ms(started)
    for rollout, action in zip(live, actions, strict=True):
        rollout.take(action, latency_ms)


class _Sequence(NamedTuple):
    prompt_ids: list[int]
    completion_ids: list[int]
    logprobs: list[float]
    env_mask: list[int]


def records_to_trl(records: Sequence[RolloutRecord]) -> dict[str, list[Any]]:
    """The return value of a TRL `rollout_func`: one sequence per rollout; its completion has all turns.

    prompt_ids: the first turn's context. completion_ids: actions and, between them, tool output.
    env_mask: 1 on action ids, 0 on tool output. logprobs: sampling logprobs on action ids, 0.0 elsewhere.
    All but prompt_ids have one length per rollout. Tool output after the last action is omitted: no action
    read it.

    Raises: TrainingError if a record has no ids, or a context does not start with the ids before it.
    Source: TRL 1.16.0, `GRPOTrainer._generate`.
    """
    sequences = [_sequence(record) for record in records]
    return {name: [getattr(sequence, name) for sequence in sequences] for name in _Sequence._fields}


def _sequence(record: RolloutRecord) -> _Sequence:
    first_ids = record.turns[0].action.prompt_ids if record.turns else None
    sequence = _Sequence(list(first_ids or ()), [], [], [])
    for turn in record.turns:
        _, prompt_ids, action_ids, action_logprobs, _ = turn.action
        if not prompt_ids or not action_ids or action_logprobs is None:
            raise TrainingError(
                "a turn without token ids",
                got=f"{record.task_id}, turn {turn.turn_index}",
                expected="a policy that returns ids, and free space in its context window",
            )
        known = sequence.prompt_ids + sequence.completion_ids
        if list(prompt_ids[: len(known)]) != known:
            raise TrainingError(
                "a context does not continue the ids before it",
                got=f"{record.task_id}, turn {turn.turn_index}",
                expected="the ids of the turn before, then new ones",
                cure="Pass `prefix_ids` on to the tokenizer instead of tokenising the context again.",
            )
        added = prompt_ids[len(known) :]
        sequence.completion_ids.extend((*added, *action_ids))
        sequence.logprobs.extend((*[0.0] * len(added), *action_logprobs))
        sequence.env_mask.extend((*[0] * len(added), *[1] * len(action_ids)))
    return sequence
