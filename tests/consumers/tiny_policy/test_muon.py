"""Goal: the float32 Muon moves weights as torch's own does, up to bfloat16's precision."""

from __future__ import annotations

import torch

from tracelake.consumers.tiny_policy.muon import float32_muon, orthogonal

SHAPES = [(64, 32), (32, 64), (48, 48)]


def test_it_moves_weights_as_torchs_muon_does() -> None:
    torch.manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    theirs = [torch.nn.Parameter(weight.detach().clone()) for weight in ours]
    start = [weight.detach().clone() for weight in ours]
    ours_optimizer = float32_muon(ours, lr=0.02)
    their_optimizer = torch.optim.Muon(theirs, lr=0.02, momentum=0.95, weight_decay=0.0)
    for _ in range(3):
        for our_weight, their_weight in zip(ours, theirs, strict=True):
            our_weight.grad = torch.randn_like(our_weight)
            their_weight.grad = our_weight.grad.clone()
        ours_optimizer.step()
        their_optimizer.step()
    for our_weight, their_weight, before in zip(ours, theirs, start, strict=True):
        moved = (their_weight - before).abs().max()
        assert moved > 0.01
        assert (our_weight - their_weight).abs().max() < 0.03 * moved


def test_an_orthogonal_matrix_has_singular_values_near_one() -> None:
    for shape in SHAPES:
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
        assert values.min() > 0.5
        assert values.max() < 1.5


def test_a_weight_without_gradient_stays() -> None:
    weight = torch.nn.Parameter(torch.ones(4, 4))
    float32_muon([weight], lr=1.0).step()
    assert torch.equal(weight, torch.ones(4, 4))
