"""Muon in float32: gradient descent along momentum whose matrices are made orthogonal.

**Why not `torch.optim.Muon`**: it orthogonalises in bfloat16, which a CPU without AVX-512 emulates. There the
warm start took most of an hour; in float32 it takes about a minute on every CPU.
Source: K. Jordan, "Muon" (2024); coefficients, momentum and scaling are those of torch 2.13's `Muon`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
EPSILON = 1e-7


def float32_muon(matrices: Sequence[Tensor], *, lr: float, momentum: float = 0.95) -> torch.optim.SGD:
    """Plain SGD whose gradients are replaced just before each update. For two-dimensional parameters only;
    the momentum is not part of the optimizer's state dict.
    """
    optimizer = torch.optim.SGD(matrices, lr=lr)
    averages = [torch.zeros_like(matrix) for matrix in matrices]

    @torch.no_grad()
    def orthogonalise(*_: Any) -> None:
        for matrix, average in zip(matrices, averages, strict=True):
            if matrix.grad is None:
                continue
            average.lerp_(matrix.grad, 1 - momentum)
            rows, columns = matrix.shape
            update = orthogonal(matrix.grad.lerp(average, momentum))
            matrix.grad = update * max(1.0, rows / columns) ** 0.5

    optimizer.register_step_pre_hook(orthogonalise)
    return optimizer


def orthogonal(matrix: Tensor) -> Tensor:
    """The matrix with its singular values moved close to 1, by Newton-Schulz iterations in float32."""
    a, b, c = COEFFICIENTS
    is_tall = matrix.shape[0] > matrix.shape[1]
    result = matrix.float().T if is_tall else matrix.float()
    result = result / result.norm().clamp(min=EPSILON)
    for _ in range(ITERATIONS):
        gram = result @ result.T
        result = torch.addmm(result, torch.addmm(gram, gram, gram, beta=b, alpha=c), result, beta=a)
    return (result.T if is_tall else result).to(matrix.dtype)
