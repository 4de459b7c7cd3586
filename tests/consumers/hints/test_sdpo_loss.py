"""The divergence is TRL's, number for number; clip and gate act per token; padding does not matter."""

from __future__ import annotations

import pytest
import torch
from trl.experimental.sdpo import loss_utils

from tracelake.consumers.action_logits import action_logits, right_align, token_logps
from tracelake.consumers.auxiliary_losses import AuxiliaryLossConfig
from tracelake.consumers.hints.sdpo_loss import sdpo_metrics, sdpo_terms, token_divergence

TOKENS, VOCABULARY = 11, 29


def logits(seed: int) -> torch.Tensor:
    return 3.0 * torch.randn(TOKENS, VOCABULARY, generator=torch.Generator().manual_seed(seed))


def plain(**changes: object) -> AuxiliaryLossConfig:
    return AuxiliaryLossConfig(sdpo_weight=1.0, sdpo_gate_beta=None, **changes)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 0.2])
@pytest.mark.parametrize("tail", [True, False])
def test_top_k_divergence_and_gradient_equal_trl(alpha: float, tail: bool) -> None:
    student, teacher = logits(1).requires_grad_(), logits(2)
    ours = token_divergence(student, teacher, plain(sdpo_alpha=alpha, sdpo_top_k=5, sdpo_tail_bucket=tail))
    theirs = loss_utils.compute_topk_self_distillation_loss(
        student, teacher, distillation_topk=5, distillation_alpha=alpha, distillation_add_tail=tail
    )
    assert_equal_with_gradient(ours, theirs, student)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 0.2])
@pytest.mark.parametrize("top_k", [None, VOCABULARY])
def test_full_divergence_and_gradient_equal_trl(alpha: float, top_k: int | None) -> None:
    student, teacher = logits(3).requires_grad_(), logits(4)
    ours = token_divergence(student, teacher, plain(sdpo_alpha=alpha, sdpo_top_k=top_k))
    theirs = loss_utils.compute_full_logit_self_distillation_loss(student, teacher, distillation_alpha=alpha)
    assert_equal_with_gradient(ours, theirs, student)


def assert_equal_with_gradient(ours: torch.Tensor, theirs: torch.Tensor, student: torch.Tensor) -> None:
    assert ours.shape == (TOKENS,)
    assert torch.allclose(ours, theirs, atol=1e-5)
    (our_gradient,) = torch.autograd.grad(ours.sum(), student)
    (their_gradient,) = torch.autograd.grad(theirs.sum(), student)
    assert our_gradient.abs().max() > 1e-3
    assert torch.allclose(our_gradient, their_gradient, atol=1e-5)


def terms_of(
    student: torch.Tensor, teacher: torch.Tensor, config: AuxiliaryLossConfig, temperature: float = 1.0
):
    ids = torch.arange(TOKENS).remainder(VOCABULARY).unsqueeze(0)
    mask = torch.ones(1, TOKENS, dtype=torch.bool)
    return sdpo_terms(student[None], teacher[None], ids, mask, temperature=temperature, config=config)


def test_clip_acts_on_whole_tokens_and_never_reverses_a_gradient() -> None:
    student, teacher = logits(5).requires_grad_(), logits(6)
    config = plain(sdpo_alpha=0.0, sdpo_top_k=None)
    per_token = token_divergence(student, teacher, config)
    limit = per_token.detach().median().item()
    clipped = terms_of(student, teacher, config.model_copy(update={"sdpo_token_clip": limit}))
    assert clipped.loss_sum.item() == pytest.approx(per_token.clamp(max=limit).sum().item(), rel=1e-5)
    assert clipped.clipped_count.item() == (per_token > limit).sum().item() > 0
    (gradient,) = torch.autograd.grad(clipped.loss_sum, student)
    (whole,) = torch.autograd.grad(per_token.sum(), student)
    assert (gradient * whole >= 0).all()
    assert (gradient[per_token > limit] == 0).all()


def test_gate_follows_the_teachers_gain_on_the_sampled_token_and_is_detached() -> None:
    student, teacher = logits(7).requires_grad_(), logits(8)
    config = plain(sdpo_alpha=0.0, sdpo_top_k=None).model_copy(update={"sdpo_gate_beta": 2.0})
    terms = terms_of(student, teacher, config, temperature=0.7)
    ids = torch.arange(TOKENS).remainder(VOCABULARY)
    gain = token_logps(teacher / 0.7, ids) - token_logps(student / 0.7, ids)
    gate = torch.sigmoid(2.0 * gain).detach()
    expected = (token_divergence(student / 0.7, teacher / 0.7, config) * gate).sum()
    assert terms.loss_sum.item() == pytest.approx(expected.item(), rel=1e-5)
    ours = torch.autograd.grad(terms.loss_sum, student)[0]
    assert torch.allclose(ours, torch.autograd.grad(expected, student)[0], atol=1e-6)


def test_gate_beta_zero_is_half_of_the_ungated_loss() -> None:
    student, teacher = logits(9), logits(10)
    ungated = terms_of(student, teacher, plain())
    naive = terms_of(student, teacher, plain().model_copy(update={"sdpo_gate_beta": 0.0}))
    assert naive.loss_sum.item() == pytest.approx(ungated.loss_sum.item() / 2, rel=1e-6)


def test_equal_distributions_cost_nothing() -> None:
    for alpha in (0.0, 0.5, 1.0):
        for top_k in (None, 4):
            terms = terms_of(logits(11), logits(11), plain(sdpo_alpha=alpha, sdpo_top_k=top_k))
            assert abs(terms.loss_sum.item()) < 1e-5


def test_empty_mask_is_a_zero_that_can_be_backpropagated() -> None:
    student = logits(12)[None].requires_grad_()
    nobody = torch.zeros(1, TOKENS, dtype=torch.bool)
    ids = torch.zeros(1, TOKENS, dtype=torch.long)
    terms = sdpo_terms(student, student.detach(), ids, nobody, temperature=1.0, config=plain())
    terms.loss_sum.backward()
    assert terms.loss_sum.item() == 0.0
    assert student.grad is not None
    assert (student.grad == 0).all()
    assert sdpo_metrics([term.item() for term in terms])["hinted_token_count"] == 0.0


def test_action_logits_depend_neither_on_padding_nor_on_other_rows(new_policy) -> None:
    policy = new_policy(1).eval()
    contexts = [torch.arange(3, 3 + length) for length in (2, 9, 5)]
    actions = [torch.arange(20, 20 + length) for length in (4, 1, 3)]
    together = right_align(contexts, actions)
    with torch.no_grad():
        logps = token_logps(action_logits(policy, together), together.action_ids)
        for row, (context, action) in enumerate(zip(contexts, actions, strict=True)):
            whole = policy(torch.cat([context, action])[None]).logits[0, :-1]
            alone = token_logps(whole[context.numel() - 1 :], action)
            assert torch.allclose(logps[row][together.action_mask[row]], alone, atol=1e-5)
