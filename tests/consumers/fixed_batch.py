"""One generation batch, and a trainer's loss and gradient on it."""

from __future__ import annotations

from typing import Any

import torch
from trl import GRPOTrainer


def first_batch(trainer: GRPOTrainer) -> dict[str, Any]:
    """What the trainer generates for four copies of one prompt."""
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    return trainer._generate_and_score_completions([{"prompt": "$ run a\n"} for _ in range(4)])


def loss_and_gradient(trainer: GRPOTrainer, batch: dict[str, Any]) -> tuple[float, torch.Tensor]:
    """The loss of one micro-batch and its gradient, all parameters in one vector."""
    trainer.model.train()
    trainer.model.zero_grad()
    loss = trainer._compute_loss(trainer.model, batch)
    loss.backward()
    return loss.item(), torch.cat([parameter.grad.flatten() for parameter in trainer.model.parameters()])
