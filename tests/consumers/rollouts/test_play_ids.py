"""Goal: every id that a real policy samples in a real world reaches TRL, and lands once.

Method: an untrained policy. Most of its actions are nonsense, and all of them are recorded.
"""

from __future__ import annotations

import pytest
import torch

from tracelake.consumers.rollouts.events import RolloutContext, rollout_events
from tracelake.consumers.rollouts.play import play_rollouts, records_to_trl
from tracelake.consumers.tiny_policy.policy import ModelShape, TinyPolicy, new_policy
from tracelake.producers.worlds.tiny_functions.environment import RepairEnvironment
from tracelake.producers.worlds.tiny_functions.sandbox import Sandbox
from tracelake.producers.worlds.tiny_functions.tasks import generate_tasks
from tracelake.schemas.environment import RolloutRecord
from tracelake.schemas.events.rollout_events import TurnCompleted
from tracelake.schemas.tokens import TOKEN_COLUMNS, PromptFold


@pytest.fixture(scope="module")
def policy() -> TinyPolicy:
    texts = [task.prompt for task in generate_tasks(0, 40, "train")]
    untrained = new_policy(texts, ModelShape(hidden=32, layers=1, heads=2, feed_forward=64))
    return TinyPolicy(untrained.model, untrained.tokenizer, action_tokens_max=12)


@pytest.fixture(scope="module")
def records(policy: TinyPolicy) -> list[RolloutRecord]:
    # Calls and end ids become likely, so that rollouts of an untrained policy last several turns.
    tasks = generate_tasks(1, 16, "train")
    bias = torch.zeros(len(policy.tokenizer))
    bias[policy.tokenizer.convert_tokens_to_ids(["<|call|>", "<|end|>"])] = torch.tensor([6.0, 5.0])
    handle = policy.model.lm_head.register_forward_hook(lambda _m, _i, logits: logits + bias)
    with Sandbox() as sandbox:
        environments = [RepairEnvironment(sandbox) for _ in tasks]
        played = play_rollouts(policy, environments, tasks, turn_limit=4, seed=0)
    handle.remove()
    return played


def test_malformed_calls_come_back_as_tool_errors(records: list[RolloutRecord]) -> None:
    errors = [call.outcome.error for r in records for turn in r.turns for call in turn.tool_calls]
    assert len(errors) > 10
    assert set(errors) <= {"unknown_tool", "bad_arguments", None}
    assert max(len(record.turns) for record in records) == 4


def test_each_context_continues_the_ids_before_it(records: list[RolloutRecord]) -> None:
    for record in records:
        for before, after in zip(record.turns, record.turns[1:], strict=False):
            known = (before.action.prompt_ids or ()) + (before.action.completion_ids or ())
            assert (after.action.prompt_ids or ())[: len(known)] == known


def test_trl_sequences_contain_every_action_once(records: list[RolloutRecord]) -> None:
    output = records_to_trl(records)
    for row, record in enumerate(records):
        completion, mask = output["completion_ids"][row], output["env_mask"][row]
        assert len(completion) == len(mask) == len(output["logprobs"][row])
        acted = [token for token, mine in zip(completion, mask, strict=True) if mine]
        assert acted == [token for turn in record.turns for token in turn.action.completion_ids or ()]
        whole = output["prompt_ids"][row] + completion
        last = record.turns[-1].action
        assert whole == [*(last.prompt_ids or ()), *(last.completion_ids or ())]


def test_prompts_are_stored_once_and_fold_to_what_was_sent(records: list[RolloutRecord]) -> None:
    for record in records:
        context = RolloutContext("r", "tiny-functions", "tiny", "run")
        events = [event for event in rollout_events(record, context) if isinstance(event, TurnCompleted)]
        fold = PromptFold(tuple(getattr(event, name) for name in TOKEN_COLUMNS) for event in events)
        for turn, event in zip(record.turns, events, strict=True):
            prompt = fold.prompt("r", turn.turn_index).ids
            assert tuple(prompt or ()) == turn.action.prompt_ids
            assert event.completion_ids == turn.action.completion_ids
            assert event.prompt_retokenised is False
        stored = sum(len(event.new_prompt_ids or ()) + len(event.completion_ids or ()) for event in events)
        last = record.turns[-1].action
        assert stored == len(last.prompt_ids or ()) + len(last.completion_ids or ())
