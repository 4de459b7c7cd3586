"""Settings of the two auxiliary channels: what is added to the GRPO loss, and with which weight.

    L = L_GRPO + sdpo_weight * L_SDPO + pair_weight * L_pairDPO

The names avoid words that already have a meaning elsewhere: `beta` is GRPO's KL coefficient and DPO's inverse
temperature, `alpha` is a divergence index. With both weights zero (the default) the trainer is stock GRPO,
bit for bit.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class AuxiliaryLossConfig(BaseModel):
    """Frozen; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    sdpo_weight: float = Field(default=0.0, ge=0.0)
    """Weight of the hint channel. Not comparable across divergences: near equality JSD is a quarter of KL."""
    pair_weight: float = Field(default=0.0, ge=0.0)
    """Weight of the pair channel."""

    sdpo_alpha: float = Field(default=0.5, ge=0.0, le=1.0)
    """Divergence index: 0 is KL(teacher || student), 1 is KL(student || teacher), between them the
    generalised JSD against the mixture (1 - alpha) * student + alpha * teacher."""
    sdpo_top_k: int | None = Field(default=100, ge=1)
    """Vocabulary entries compared per token, the student's most likely ones; None compares all of them."""
    sdpo_tail_bucket: bool = True
    """Whether the mass outside the top k is compared as one more entry; without it both are renormalised."""
    sdpo_token_clip: float | None = Field(default=None, gt=0.0)
    """Upper bound in nats on one token's divergence, applied after the vocabulary sum: a clip per vocabulary
    entry reverses the gradient of the clipped entry."""
    sdpo_gate_beta: float | None = Field(default=5.0, ge=0.0)
    """Sharpness of the detached gate sigmoid(gate_beta * (log teacher - log student)) of the sampled token;
    None switches the gate off (every token counts fully), 0 gives every token one half."""
    sdpo_temperature: float | None = Field(default=None, gt=0.0)
    """Divides both sides' logits; None is the temperature that the rollouts were sampled at."""

    dpo_beta: float = Field(default=0.1, gt=0.0)
    """Inverse temperature of the implicit reward."""
    pair_loss_type: Literal["sigmoid", "sigmoid_norm"] = "sigmoid"
    """`sigmoid` compares summed log-ratios, `sigmoid_norm` their per-token means."""
    pair_sft_weight: float = Field(default=0.05, ge=0.0)
    """Weight, inside the channel, of the chosen action's mean negative log-likelihood; it supports the chosen
    likelihood, which DPO alone may push down together with the rejected one."""
    pair_vote_margin_weights: bool = True
    """Whether a pair counts in proportion to its vote margin."""
    pairs_per_micro_batch: int = Field(default=4, ge=1)
    """Pairs scored on each process in every micro-batch."""
    pair_prompt_token_limit: int | None = Field(default=None, ge=1)
    """Prompt tokens of a pair, counted from the action backwards; None: all. The action is never cut."""
    pair_seed: int = Field(default=0, ge=0)
    """Seed of the pair order."""

    @property
    def is_stock(self) -> bool:
        """Both weights are zero: no channel may leave a trace in the run."""
        return self.sdpo_weight == 0.0 and self.pair_weight == 0.0
