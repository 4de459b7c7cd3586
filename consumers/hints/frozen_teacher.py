"""The hint channel's teacher: a model whose weights never change, with a fingerprint.

A live teacher (one that follows the policy) collapses the channel. Two ways to get one by accident are closed
here: passing the policy itself, and copying a model whose `forward` an earlier trainer had replaced. TRL's
fused head is a closure over the *original* model's forward, so such a copy looks frozen but answers with the
live policy.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
from typing import Any, cast

import torch
from torch import nn
from trl.models.utils import prepare_deepspeed, prepare_fsdp
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.utils import create_model_from_path

from tracelake.schemas.errors import TrainingError

_SAMPLE_LENGTH = 64


def frozen_teacher(policy: Any, teacher_model: nn.Module | None, args: GRPOConfig | None) -> nn.Module:
    """The given teacher, or a copy of the initial policy, in evaluation mode and without gradients.

    `policy` is the trainer's argument, a model or a path. Call this before the trainer touches the policy.
    """
    if teacher_model is policy:
        raise TrainingError(
            "the teacher is the policy itself",
            expected="another model",
            cure="Leave teacher_model out to have the initial policy copied.",
        )
    teacher = _initial_policy(policy, args) if teacher_model is None else teacher_model
    _restore_own_forward(teacher)
    return teacher.eval().requires_grad_(False)


def weights_fingerprint(model: nn.Module) -> str:
    """sha256 over each parameter's name, shape, type and a sample of its values; needs whole parameters."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode())
        flat = parameter.detach().flatten()
        sample = flat[:: max(flat.numel() // _SAMPLE_LENGTH, 1)]
        digest.update(sample.to("cpu", torch.float32).numpy().tobytes())
    return digest.hexdigest()


def place_teacher(teacher: nn.Module, trainer: Any) -> nn.Module:
    """The teacher on the trainer's devices, sharded as TRL shards its reference model."""
    if trainer.is_deepspeed_enabled:
        return cast(nn.Module, prepare_deepspeed(teacher, trainer.accelerator))
    if trainer.is_fsdp_enabled:
        return cast(nn.Module, prepare_fsdp(teacher, trainer.accelerator))
    return trainer.accelerator.prepare_model(teacher, evaluation_mode=True)


def _initial_policy(policy: Any, args: GRPOConfig | None) -> nn.Module:
    if not isinstance(policy, str):
        return copy.deepcopy(policy)
    load_kwargs = cast(dict[str, Any], args.model_init_kwargs or {}) if args else {}
    return create_model_from_path(policy, **load_kwargs)


def _restore_own_forward(model: nn.Module) -> None:
    for module in model.modules():
        patched = getattr(vars(module).get("forward"), "__func__", None)
        if patched is None:
            continue
        inner = inspect.getclosurevars(patched).nonlocals.get("original_forward")
        if inner is not None and getattr(inner, "__self__", module) is not module:
            del module.forward
