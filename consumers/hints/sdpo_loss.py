"""The hint channel's loss: the divergence of the student from the teacher that reads the hint.

Per token: a divergence over the vocabulary (forward KL, reverse KL, or generalised JSD), clipped after the
sum, times a detached gate. Both sides' logits are divided by the same temperature. The teacher never receives
a gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn import functional

from tracelake.consumers.action_logits import token_logps
from tracelake.consumers.auxiliary_losses import AuxiliaryLossConfig

# Upper bound on log(p): the tail's log mass log(1 - p) then stays finite in float32.
TOP_K_LOG_MASS_MAX = -1e-7


class SdpoTerms(NamedTuple):
    """Sums over the action tokens of one batch; the caller chooses the divisor."""

    loss_sum: torch.Tensor
    """Gated, clipped divergence in nats; carries the gradient."""
    divergence_sum: torch.Tensor
    """Divergence in nats before clip and gate; detached."""
    gate_sum: torch.Tensor
    """Sum of the gates; detached."""
    clipped_count: torch.Tensor
    """Tokens whose divergence was clipped; detached."""
    token_count: torch.Tensor
    """Action tokens."""


def divergence(student_logps: torch.Tensor, teacher_logps: torch.Tensor, alpha: float) -> torch.Tensor:
    """(...) nats between log-probabilities (..., V): 0 forward KL, 1 reverse KL, between them the JSD."""
    if alpha == 0.0:
        return _kl(teacher_logps, student_logps)
    if alpha == 1.0:
        return _kl(student_logps, teacher_logps)
    mixture = torch.logaddexp(student_logps + math.log1p(-alpha), teacher_logps + math.log(alpha))
    return alpha * _kl(teacher_logps, mixture) + (1.0 - alpha) * _kl(student_logps, mixture)


def token_divergence(
    student_logits: torch.Tensor, teacher_logits: torch.Tensor, config: AuxiliaryLossConfig
) -> torch.Tensor:
    """(...) nats between two sets of logits (..., V), already divided by the temperature."""
    if config.sdpo_top_k is None or config.sdpo_top_k >= student_logits.size(-1):
        return divergence(student_logits.log_softmax(-1), teacher_logits.log_softmax(-1), config.sdpo_alpha)
    # The support is the student's top k: without student mass there is nothing to correct.
    student_top, support = student_logits.topk(config.sdpo_top_k, dim=-1)
    student_top = student_top - student_logits.logsumexp(-1, keepdim=True)
    teacher_top = teacher_logits.gather(-1, support) - teacher_logits.logsumexp(-1, keepdim=True)
    close = _with_tail if config.sdpo_tail_bucket else _renormalised
    return divergence(close(student_top), close(teacher_top), config.sdpo_alpha)


def sdpo_terms(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    action_ids: torch.Tensor,
    action_mask: torch.Tensor,
    *,
    temperature: float,
    config: AuxiliaryLossConfig,
) -> SdpoTerms:
    """Terms over the tokens where `action_mask` (N, A) is true; logits (N, A, V), `action_ids` (N, A).

    An empty mask gives a zero that is still part of the student's graph: if one process skipped its backward
    pass, the others of a sharded job would hang.
    """
    if not action_mask.any():
        nothing = student_logits.new_zeros(())
        return SdpoTerms(student_logits.float().sum() * 0.0, nothing, nothing, nothing, nothing)
    student = student_logits[action_mask].float() / temperature
    teacher = teacher_logits[action_mask].float() / temperature
    per_token = token_divergence(student, teacher.detach(), config)
    limit = math.inf if config.sdpo_token_clip is None else config.sdpo_token_clip
    gate = _gate(student, teacher, action_ids[action_mask], config.sdpo_gate_beta)
    raw = per_token.detach()
    return SdpoTerms(
        loss_sum=(per_token.clamp(max=limit) * gate).sum(),
        divergence_sum=raw.sum(),
        gate_sum=gate.sum(),
        clipped_count=(raw > limit).sum().to(raw.dtype),
        token_count=action_mask.sum().to(raw.dtype),
    )


def sdpo_metrics(sums: Sequence[float]) -> dict[str, float]:
    """Means per token of sums in the order of `SdpoTerms`; NaN where no token was hinted."""
    loss, raw, gate, clipped, count = sums
    share = 1.0 / count if count else math.nan
    return {
        "loss": loss * share,
        "divergence": raw * share,
        "gate_mean": gate * share,
        "clip_fraction": clipped * share,
        "hinted_token_count": count,
    }


def _gate(
    student: torch.Tensor, teacher: torch.Tensor, action_ids: torch.Tensor, gate_beta: float | None
) -> torch.Tensor:
    if gate_beta is None:
        return student.new_ones(action_ids.shape)
    with torch.no_grad():
        gain = token_logps(teacher, action_ids) - token_logps(student, action_ids)
        return functional.sigmoid(gate_beta * gain)


def _kl(of_logps: torch.Tensor, to_logps: torch.Tensor) -> torch.Tensor:
    return (of_logps.exp() * (of_logps - to_logps)).sum(-1)


def _with_tail(top_logps: torch.Tensor) -> torch.Tensor:
    mass = top_logps.logsumexp(-1, keepdim=True).clamp(max=TOP_K_LOG_MASS_MAX)
    return torch.cat([top_logps, torch.log(-torch.expm1(mass))], dim=-1)


def _renormalised(top_logps: torch.Tensor) -> torch.Tensor:
    return top_logps - top_logps.logsumexp(-1, keepdim=True)
