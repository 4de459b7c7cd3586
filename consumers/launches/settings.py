"""The trainer's settings: an experiment's own keys, and for everything else the defaults of TRL and of ours.

**Every resolved setting is registered**: `trainer_config` goes into the registration and the lock, so a
default that changes with a library cannot pass unnoticed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from trl.trainer.grpo_config import GRPOConfig

from tracelake.consumers.auxiliary_losses import AuxiliaryLossConfig
from tracelake.schemas.experiments.experiment import Experiment, Training

# Left out: seeds, which belong to a launch, and settings of folders, machines and reports, which change no
# update.
UNREGISTERED = frozenset(
    [
        *("seed", "data_seed", "pair_seed", "output_dir", "run_name", "project", "resume_from_checkpoint"),
        *("use_cpu", "local_rank", "gradient_checkpointing", "activation_checkpointing", "debug"),
        *("report_to", "disable_tqdm", "skip_memory_metrics", "push_to_hub", "torch_empty_cache_steps"),
        *("dataloader_num_workers", "dataloader_pin_memory", "dataloader_persistent_workers"),
        *("dataloader_prefetch_factor", "dataloader_multiprocessing_context", "num_completions_to_print"),
    ]
)
UNREGISTERED_PREFIXES = (
    "hub_",
    "trackio_",
    "ddp_",
    "log_",
    "logging_",
    "save_",
    "vllm_server_",
    "vllm_group_",
)


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


def auxiliary_loss_config(experiment: Experiment, arm: str, seed: int) -> AuxiliaryLossConfig:
    """The settings of an arm's channels."""
    treatment, settings = experiment.arm(arm), experiment.training
    return AuxiliaryLossConfig(
        sdpo_weight=treatment.sdpo_weight,
        pair_weight=treatment.pair_weight,
        dpo_beta=settings.dpo_beta,
        pairs_per_micro_batch=settings.pairs_per_micro_batch,
        pair_prompt_token_limit=settings.pair_prompt_token_limit,
        pair_seed=seed,
    )


def trainer_config(experiment: Experiment) -> dict[str, Any]:
    """Every resolved setting of all arms, JSON, without seeds, paths and facts of the machine."""
    return {
        "grpo": _registered(grpo_config(experiment.training, 0, Path()).to_dict()),
        "auxiliary_losses": {
            arm: _registered(auxiliary_loss_config(experiment, arm, 0).model_dump(mode="json"))
            for arm in sorted(experiment.arms)
        },
    }


def _registered(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in settings.items()
        if name not in UNREGISTERED and not name.startswith(UNREGISTERED_PREFIXES)
    }
