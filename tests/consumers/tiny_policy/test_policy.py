"""Goal: the recorded ids and logprobs are those that the policy sampled.

Method: recompute everything with plain forward passes.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tracelake.consumers.tiny_policy.policy import CONTEXT_TOKENS_MAX, ModelShape, TinyPolicy, new_policy
from tracelake.consumers.tiny_policy.sampling import sample
from tracelake.consumers.tiny_policy.tokenizer import END, piece_id
from tracelake.producers.worlds.tiny_functions.environment import TOOLS, opening_messages
from tracelake.producers.worlds.tiny_functions.tasks import generate_tasks
from tracelake.schemas.environment import Policy, PolicyAction
from tracelake.schemas.errors import BadInputError
from tracelake.schemas.message import Message

TASKS = generate_tasks(0, 12, "train")
CONTEXTS = [opening_messages(task) for task in TASKS]
SHAPE = ModelShape(hidden=32, layers=2, heads=2, feed_forward=64)


@pytest.fixture(scope="module")
def policy() -> TinyPolicy:
    policy = new_policy((task.prompt for task in TASKS), SHAPE, seed=3)
    # Larger weights make a far from uniform distribution, which the checks below need to mean anything.
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight.mul_(3.0)
    return policy


def recomputed(policy: TinyPolicy, action: PolicyAction) -> torch.Tensor:
    """Logprobs of the completion by one forward pass without cache, padding or batch."""
    assert action.prompt_ids is not None
    assert action.completion_ids is not None
    ids = torch.tensor([[*action.prompt_ids, *action.completion_ids]])
    with torch.no_grad():
        logits = policy.model(input_ids=ids).logits[0, len(action.prompt_ids) - 1 : -1]
    logprobs = (logits / policy.temperature).log_softmax(-1)
    return logprobs.gather(1, torch.tensor(action.completion_ids)[:, None])[:, 0]


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.6])
def test_sampling_logprobs_are_those_of_a_forward_pass(policy: TinyPolicy, temperature: float) -> None:
    hot = TinyPolicy(policy.model, policy.tokenizer, temperature=temperature)
    actions = hot.act(CONTEXTS, TOOLS, seeds=range(12))
    assert len({len(action.prompt_ids or ()) for action in actions}) > 3
    for action in actions:
        assert action.sampling_logprobs is not None
        recorded = torch.tensor(action.sampling_logprobs)
        torch.testing.assert_close(recorded, recomputed(hot, action), atol=1e-4, rtol=0)
        assert torch.tensor(action.sampling_logprobs, dtype=torch.float32).tolist() == list(
            action.sampling_logprobs
        )


def test_it_is_a_policy_and_its_actions_are_messages(policy: TinyPolicy) -> None:
    as_protocol: Policy = policy
    for action in as_protocol.act(CONTEXTS, TOOLS, seeds=range(12)):
        assert action.message["role"] == "assistant"
        assert action.finish_reason in {"stop", "tool_calls", "length"}
        assert len(action.completion_ids or ()) == len(action.sampling_logprobs or ())


def test_a_completion_ends_at_its_end_id_or_is_cut() -> None:
    eager = new_policy((task.prompt for task in TASKS), SHAPE)
    eager = TinyPolicy(eager.model, eager.tokenizer, temperature=50.0, action_tokens_max=400)
    end_id = piece_id(eager.tokenizer, END)
    reasons = set()
    for action in eager.act(CONTEXTS, TOOLS, seeds=range(12)):
        assert action.completion_ids is not None
        reasons.add(action.finish_reason)
        assert end_id not in action.completion_ids[:-1]
        assert (action.completion_ids[-1] == end_id) == (action.finish_reason != "length")
        assert action.finish_reason != "length" or len(action.completion_ids) == 400
    assert {"length"} < reasons


def test_a_rows_draws_do_not_depend_on_its_batch(policy: TinyPolicy) -> None:
    together = policy.act(CONTEXTS, TOOLS, seeds=range(12))
    backwards = policy.act(CONTEXTS[::-1], TOOLS, seeds=range(11, -1, -1))
    alone = policy.act(CONTEXTS[5:6], TOOLS, seeds=[5])
    assert [action.completion_ids for action in together] == [
        action.completion_ids for action in backwards[::-1]
    ]
    assert together[5].completion_ids == alone[0].completion_ids


def test_other_seeds_give_other_draws(policy: TinyPolicy) -> None:
    actions = policy.act(CONTEXTS[:1] * 6, TOOLS, seeds=[1, 2, 3, 1, 2, 3])
    assert actions[:3] == actions[3:]
    assert len({action.completion_ids for action in actions}) == 3


def test_draws_follow_the_distribution(policy: TinyPolicy) -> None:
    (prompt,) = (action.prompt_ids for action in policy.act(CONTEXTS[:1], TOOLS, seeds=[0]))
    assert prompt is not None
    with torch.no_grad():
        expected = policy.model(input_ids=torch.tensor([prompt])).logits[0, -1].softmax(-1)
    rows = sample(
        policy.model,
        [prompt] * 2000,
        seeds=range(2000),
        token_count_max=1,
        temperature=1.0,
        end_id=-1,
        pad_id=0,
    )
    counts = torch.bincount(torch.tensor([row.ids[0] for row in rows]), minlength=len(expected)) / 2000
    likely = expected > 0.02
    assert int(likely.sum()) >= 2
    torch.testing.assert_close(counts[likely], expected[likely], atol=0.04, rtol=0)


def test_a_given_prefix_is_continued_and_not_tokenised_again(policy: TinyPolicy) -> None:
    context: list[Message] = [
        *CONTEXTS[0],
        {"role": "assistant", "content": "whatever"},
        {"role": "tool", "tool_call_id": "x", "content": "ok"},
    ]
    prefix = [9, 8, 7, piece_id(policy.tokenizer, END)]
    (action,) = policy.act([context], TOOLS, seeds=[0], prefix_ids=[prefix])
    assert action.prompt_ids is not None
    assert list(action.prompt_ids[:4]) == prefix
    assert policy.tokenizer.decode(action.prompt_ids[4:]) == "<|tool|>ok<|end|><|assistant|>"


def test_a_context_that_fills_the_window_gets_an_empty_action(policy: TinyPolicy) -> None:
    long: list[Message] = [{"role": "user", "content": "~" * CONTEXT_TOKENS_MAX}]
    full, normal = policy.act([long, CONTEXTS[0]], TOOLS, seeds=[0, 1])
    assert (full.completion_ids, full.finish_reason) == ((), "length")
    assert normal.completion_ids
    assert policy.act([long], TOOLS, seeds=[0])[0].completion_ids == ()


def test_the_same_seed_gives_the_same_policy_and_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    first, second, other = (new_policy(["a b"] * 3, SHAPE, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    weights = [next(iter(policy.model.parameters())) for policy in (first, second, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_saved_policy_samples_the_same(policy: TinyPolicy, tmp_path: Path) -> None:
    policy.save(tmp_path)
    loaded = TinyPolicy.load(tmp_path)
    assert loaded.act(CONTEXTS, TOOLS, seeds=range(12)) == policy.act(CONTEXTS, TOOLS, seeds=range(12))


def test_temperature_must_be_positive(policy: TinyPolicy) -> None:
    with pytest.raises(BadInputError, match="temperature"):
        TinyPolicy(policy.model, policy.tokenizer, temperature=0.0)


def test_the_sampler_agrees_with_transformers_when_almost_greedy() -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    model = LlamaForCausalLM(config).eval()
    prompts = [[5, 6, 7], [8, 9, 10, 11, 12, 13], [14]]
    rows = sample(model, prompts, seeds=[0, 1, 2], token_count_max=8, temperature=1e-6, end_id=1, pad_id=0)
    for prompt, row in zip(prompts, rows, strict=True):
        expected = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            do_sample=False,
            max_new_tokens=8,
        )
        assert list(row.ids) == expected[0, len(prompt) :].tolist()
