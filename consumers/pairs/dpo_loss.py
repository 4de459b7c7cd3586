"""The pair channel's loss: DPO on pinned pairs, with reference log-probabilities computed once.

Sequence log-probabilities are summed over the action, as in TRL's DPOTrainer. They are scored at temperature
1, not at the rollouts' temperature: the pairs were not sampled from this policy.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from tracelake.consumers.action_logits import action_logits, token_logps
from tracelake.consumers.auxiliary_losses import AuxiliaryLossConfig
from tracelake.consumers.pairs.pair_batches import PairBatch, PairDataset, collate_pairs


class PairTerms(NamedTuple):
    """One micro-batch of N pairs."""

    loss: torch.Tensor
    """Weighted mean preference loss plus the weighted negative log-likelihood; carries the gradient."""
    preference_loss: torch.Tensor
    """Scalar, detached: the preference part alone."""
    chosen_nll: torch.Tensor
    """Scalar, detached: mean over the chosen actions' tokens, in nats."""
    chosen_logps: torch.Tensor
    """(N,) detached, nats, summed over the action."""
    rejected_logps: torch.Tensor
    """(N,) detached, nats, summed over the action."""
    margins: torch.Tensor
    """(N,) detached: beta times the difference of log-ratios, the sigmoid's argument."""


def sequence_logps(model: nn.Module, batch: PairBatch) -> torch.Tensor:
    """(2N,) nats, summed over each action, the chosen ones first."""
    logits = action_logits(model, batch.sequences)
    logps = token_logps(logits, batch.sequences.action_ids)
    return logps.masked_fill(~batch.sequences.action_mask, 0.0).sum(dim=1)


def pair_terms(model: nn.Module, batch: PairBatch, config: AuxiliaryLossConfig) -> PairTerms:
    """Forward pass and loss of one pair micro-batch."""
    chosen_logps, rejected_logps = sequence_logps(model, batch).chunk(2)
    chosen_counts, rejected_counts = batch.sequences.action_mask.sum(dim=1).chunk(2)
    chosen_scores = chosen_logps - batch.reference_chosen_logps
    rejected_scores = rejected_logps - batch.reference_rejected_logps
    if config.pair_loss_type == "sigmoid_norm":
        chosen_scores = chosen_scores / chosen_counts
        rejected_scores = rejected_scores / rejected_counts
    margins = config.dpo_beta * (chosen_scores - rejected_scores)
    preference_loss = (batch.weights * -functional.logsigmoid(margins)).mean()
    chosen_nll = -(batch.weights * chosen_logps).sum() / chosen_counts.sum()
    return PairTerms(
        loss=preference_loss + config.pair_sft_weight * chosen_nll,
        preference_loss=preference_loss.detach(),
        chosen_nll=chosen_nll.detach(),
        chosen_logps=chosen_logps.detach(),
        rejected_logps=rejected_logps.detach(),
        margins=margins.detach(),
    )


def pair_metrics(terms: PairTerms) -> dict[str, torch.Tensor]:
    """Scalars of one process, detached; log-probabilities in nats per sequence."""
    return {
        "loss": terms.loss.detach(),
        "preference_loss": terms.preference_loss,
        "chosen_nll": terms.chosen_nll,
        "chosen_logps": terms.chosen_logps.mean(),
        "rejected_logps": terms.rejected_logps.mean(),
        "margin": terms.margins.mean(),
        "margin_accuracy": (terms.margins > 0).float().mean(),
    }


@torch.no_grad()
def reference_logprobs(
    model: nn.Module, pairs: PairDataset, config: AuxiliaryLossConfig, batch_size: int = 8
) -> PairDataset:
    """The pairs with reference log-probabilities under `model`.

    `config` must be that of the run: under another prompt limit the reference would score other contexts than
    the policy. The model is scored in evaluation mode; its mode is restored.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    chosen: list[float] = []
    rejected: list[float] = []
    for start in range(0, len(pairs), batch_size):
        rows = pairs.rows(range(start, min(start + batch_size, len(pairs))))
        chosen_logps, rejected_logps = sequence_logps(model, collate_pairs(rows, config, device)).chunk(2)
        chosen += chosen_logps.tolist()
        rejected += rejected_logps.tolist()
    model.train(was_training)
    return pairs.with_reference(chosen, rejected)
