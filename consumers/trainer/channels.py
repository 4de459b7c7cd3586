"""What a channel needs beside its weight; it exists only while that weight is not zero."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from tracelake.consumers.hints.hinted_batch import HintedBatch
from tracelake.consumers.hints.hints import Hint, HintProvider
from tracelake.consumers.hints.sdpo_loss import SdpoTerms, sdpo_terms
from tracelake.consumers.pairs.pair_batches import PairBatch, PairCursor, PairDataset, collate_pairs
from tracelake.consumers.trainer.action_logits import action_logits
from tracelake.consumers.trainer.auxiliary_losses import ReplayConfig


@dataclass(frozen=True)
class HintChannel:
    """The frozen teacher and what it is told."""

    teacher: nn.Module
    teacher_fingerprint: str
    """`weights_fingerprint` of the teacher, checked at resume."""
    provider: HintProvider
    opening_ids: Hint
    """The chat template's opening of the policy's message; a hint goes before it."""

    def terms(
        self, policy: nn.Module, batch: HintedBatch, temperature: float, config: ReplayConfig
    ) -> SdpoTerms:
        """One forward pass of each side, whether or not a token is hinted."""
        student_logits = action_logits(policy, batch.student)
        with torch.no_grad():
            teacher_logits = action_logits(self.teacher, batch.teacher)
        return sdpo_terms(
            student_logits,
            teacher_logits,
            batch.student.action_ids,
            batch.student.action_mask,
            temperature=config.sdpo_temperature or temperature,
            config=config,
        )


@dataclass(frozen=True)
class PairChannel:
    """The pinned pairs and where the run stands in them."""

    pairs: PairDataset
    cursor: PairCursor

    def next_batch(self, config: ReplayConfig, device: torch.device) -> PairBatch:
        """The next micro-batch; moves the cursor."""
        return collate_pairs(self.pairs.rows(self.cursor.next_indices()), config, device)
