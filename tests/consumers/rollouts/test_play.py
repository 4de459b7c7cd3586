"""Goal: one loop that plays any policy in any environment and records all of it.

Method: a scripted policy and a counting environment that implement the real protocols.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest

from tracelake.consumers.rollouts.play import play_rollouts, records_to_trl, rollout_seed
from tracelake.producers.worlds.tiny_functions.environment import RepairEnvironment
from tracelake.producers.worlds.tiny_functions.oracle import OraclePolicy
from tracelake.producers.worlds.tiny_functions.sandbox import Sandbox
from tracelake.producers.worlds.tiny_functions.tasks import generate_tasks
from tracelake.schemas.environment import (
    Environment,
    FinishReason,
    Policy,
    PolicyAction,
    RolloutRecord,
    ToolDefinition,
    ToolOutcome,
)
from tracelake.schemas.errors import BadInputError, TrainingError
from tracelake.schemas.message import Message


class CountTask(NamedTuple):
    task_id: str
    task_hash: str
    goal: int


class CountEnvironment:
    """Is done once `count` was called `goal` times."""

    tools: Sequence[ToolDefinition] = ({"type": "function", "function": {"name": "count"}},)

    def reset(self, task: CountTask) -> list[Message]:
        self.task, self.count = task, 0
        return [{"role": "system", "content": "count"}, {"role": "user", "content": f"to {task.goal}"}]

    def call(self, name: str, arguments_json: str) -> ToolOutcome:
        if name != "count":
            return ToolOutcome("ERROR", "ERROR raw", "unknown_tool", False, 0.1)
        self.count += 1
        return ToolOutcome(str(self.count), f"raw {self.count}", None, self.count >= self.task.goal, 0.1)

    def rewards(self) -> dict[str, float]:
        return {"reward": float(self.count >= self.task.goal)}


class ScriptedPolicy:
    """Says its script's texts in order, one per turn: `count`, `other`, `talk`, `cut` or `count count`."""

    def __init__(self, *script: str) -> None:
        self.script = script
        self.batches: list[int] = []
        self.seeds: list[tuple[int, ...]] = []

    def act(
        self,
        contexts: Sequence[Sequence[Message]],
        tools: Sequence[ToolDefinition],
        *,
        seeds: Sequence[int],
        prefix_ids: Sequence[Sequence[int] | None] | None = None,
    ) -> list[PolicyAction]:
        said = self.script[len(self.batches)]
        self.batches.append(len(contexts))
        self.seeds.append(tuple(seeds))
        prefixes = prefix_ids or [None] * len(contexts)
        return [
            self._action(said, len(context), prefix)
            for context, prefix in zip(contexts, prefixes, strict=True)
        ]

    def _action(self, said: str, context_length: int, prefix: Sequence[int] | None) -> PolicyAction:
        names = [] if said == "talk" else ["count"] if said == "cut" else said.split()
        message: Message = {"role": "assistant", "content": None if names else "hm"}
        if names:
            message["tool_calls"] = [
                {
                    "id": f"{context_length}_{i}",
                    "type": "function",
                    "function": {"name": name, "arguments": "{}"},
                }
                for i, name in enumerate(names)
            ]
        reason: FinishReason = "length" if said == "cut" else "tool_calls" if names else "stop"
        prompt = (*(prefix or (1,)), 50 + context_length)
        return PolicyAction(message, prompt, (7, 8), (-0.5, -0.25), reason)


def count_tasks(*goals: int) -> list[CountTask]:
    return [CountTask(f"task-{goal}", f"hash-{goal}", goal) for goal in goals]


def play(policy: Policy, *goals: int, turn_limit: int = 5, seed: int = 0) -> list[RolloutRecord]:
    environments: list[Environment] = [CountEnvironment() for _ in goals]
    return play_rollouts(policy, environments, count_tasks(*goals), turn_limit=turn_limit, seed=seed)


def test_rollouts_end_when_their_environment_is_done_and_leave_the_batch() -> None:
    policy = ScriptedPolicy("count", "count", "count", "count")
    records = play(policy, 1, 3, 2)
    assert [len(record.turns) for record in records] == [1, 3, 2]
    assert [record.stop_reason for record in records] == ["completed"] * 3
    assert [record.task_id for record in records] == ["task-1", "task-3", "task-2"]
    assert policy.batches == [3, 2, 1]


@pytest.mark.parametrize(
    ("script", "stop_reason", "reward"),
    [
        (["count"] * 5, "max_turns", 0.0),
        (["count", "talk"], "parse_error", 0.0),
        (["count", "cut"], "max_tokens", 0.0),
        (["other"] * 5, "max_turns", 0.0),
        (["count count", "count count", "count count count"], "completed", 1.0),
    ],
)
def test_every_end_has_its_reason_and_is_scored(script: list[str], stop_reason: str, reward: float) -> None:
    (record,) = play(ScriptedPolicy(*script), 7)
    assert record.stop_reason == stop_reason
    assert record.rewards == {"reward": reward}


def test_a_cut_action_is_not_executed() -> None:
    (record,) = play(ScriptedPolicy("cut"), 1)
    assert record.turns[0].tool_calls == ()
    assert record.rewards["reward"] == 0.0


def test_calls_after_the_end_are_executed_and_recorded() -> None:
    (record,) = play(ScriptedPolicy("count count"), 1)
    assert [call.outcome.done for call in record.turns[0].tool_calls] == [True, True]
    assert record.stop_reason == "completed"


def test_a_record_has_every_field_that_its_events_need() -> None:
    (record,) = play(ScriptedPolicy("count other", "count"), 2)
    first, second = record.turns
    assert [message["role"] for message in first.new_messages] == ["system", "user"]
    assert list(second.new_messages) == [
        {"role": "tool", "tool_call_id": "2_0", "content": "1"},
        {"role": "tool", "tool_call_id": "2_1", "content": "ERROR"},
    ]
    assert [message["content"] for message in record.final_messages] == ["2"]
    assert [call.outcome.raw_output for call in first.tool_calls] == ["raw 1", "ERROR raw"]
    assert [call.outcome.error for call in first.tool_calls] == [None, "unknown_tool"]
    assert [turn.turn_index for turn in record.turns] == [0, 1]
    assert record.tools == tuple(CountEnvironment.tools)
    assert first.latency_ms > 0
    assert record.duration_ms >= first.latency_ms


def test_contexts_grow_by_actions_and_tool_results() -> None:
    (record,) = play(OracleOfContexts(), 3)
    lengths = [len(turn.new_messages) for turn in record.turns]
    assert lengths == [2, 1, 1]
    assert OracleOfContexts.seen == [2, 4, 6]


class OracleOfContexts(ScriptedPolicy):
    """Notes how long each context was."""

    seen: list[int] = []  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__("count", "count", "count")
        self.seen.clear()

    def act(self, contexts: Sequence[Sequence[Message]], *args: Any, **kwargs: Any) -> list[PolicyAction]:
        self.seen.append(len(contexts[0]))
        return super().act(contexts, *args, **kwargs)


def test_seeds_belong_to_rollouts_and_turns() -> None:
    together, alone = ScriptedPolicy("count", "count"), ScriptedPolicy("count", "count")
    first = play(together, 1, 2, 2, seed=9)
    second = play(alone, 1, 1, 2, seed=9)
    assert [record.seed for record in first] == [record.seed for record in second]
    assert together.seeds[1][1] == alone.seeds[1][0]
    assert len({seed for batch in together.seeds for seed in batch}) == 5
    assert rollout_seed(9, 2) == first[2].seed
    assert rollout_seed(9, 2) != rollout_seed(10, 2)


def test_too_few_environments_are_refused() -> None:
    with pytest.raises(BadInputError, match="environments"):
        play_rollouts(ScriptedPolicy(), [CountEnvironment()], count_tasks(1, 2), turn_limit=1, seed=0)


def test_trl_sequences_mask_tool_output() -> None:
    records = play(ScriptedPolicy("count", "count"), 1, 2)
    assert records_to_trl(records) == {
        "prompt_ids": [[1, 52], [1, 52]],
        "completion_ids": [[7, 8], [7, 8, 54, 7, 8]],
        "logprobs": [[-0.5, -0.25], [-0.5, -0.25, 0.0, -0.5, -0.25]],
        "env_mask": [[1, 1], [1, 1, 0, 1, 1]],
    }


def test_a_context_that_does_not_start_with_earlier_ids_cannot_be_trained_on() -> None:
    (record,) = play(ScriptedPolicy("count", "count"), 2)
    forgetful = record.turns[1]._replace(action=record.turns[1].action._replace(prompt_ids=(1, 2, 3)))
    with pytest.raises(TrainingError, match="does not continue"):
        records_to_trl([record._replace(turns=(record.turns[0], forgetful))])


def test_a_policy_without_ids_can_be_played_but_not_trained_on() -> None:
    task = generate_tasks(0, 1, "train")[0]
    with Sandbox() as sandbox:
        (record,) = play_rollouts(OraclePolicy(), [RepairEnvironment(sandbox)], [task], turn_limit=4, seed=0)
    assert record.rewards["reward"] == 1.0
    with pytest.raises(TrainingError, match="without token ids"):
        records_to_trl([record])
