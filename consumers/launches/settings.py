"""TRL's settings, made of an experiment's own: what an experiment file cannot say is decided here."""

from __future__ import annotations

from pathlib import Path

import torch
from trl.trainer.grpo_config import GRPOConfig

from tracelake.schemas.experiments.experiment import Training


def grpo_config(settings: Training, seed: int, folder: Path) -> GRPOConfig:
    """`folder` is that of the checkpoints."""
    on_gpu = torch.cuda.is_available()
    rollout_count = settings.tasks_per_batch * settings.group_size
    return GRPOConfig(
        output_dir=str(folder),
        seed=seed,
        data_seed=seed,
        use_cpu=not on_gpu,
        max_steps=settings.train_steps,
        per_device_train_batch_size=rollout_count // settings.gradient_accumulation,
        gradient_accumulation_steps=settings.gradient_accumulation,
        num_generations=settings.group_size,
        max_completion_length=settings.completion_token_limit,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant",
        loss_type=settings.loss_type,
        scale_rewards="none",
        temperature=settings.temperature,
        beta=0.0,
        shuffle_dataset=False,
        save_strategy="steps" if settings.checkpoint_every else "no",
        save_steps=settings.checkpoint_every or 500,
        logging_steps=1,
        report_to=[],
        disable_tqdm=True,
        bf16=False,
        # It saves a GPU's memory, and costs a small policy on a CPU a tenth of its time.
        gradient_checkpointing=on_gpu,
        dataloader_num_workers=0,
    )
