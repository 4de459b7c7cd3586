"""What the trainer tells its caller, so that what was generated and what was consumed can land as events.

`train_step` is the number of optimizer updates done, the one in progress included; `policy_version` is the
number of updates that the weights in use had behind them. One update may consume several micro-batches, each
with its own call. Each process reports its own rows.
"""

from __future__ import annotations

from typing import Protocol

from tracelake.consumers.hints.hinted_batch import HintedTurn
from tracelake.consumers.hints.turn_views import RolloutView


class TrainingHooks(Protocol):
    """Called in training only, never in evaluation; an exception stops the run."""

    def on_rollouts_scored(
        self,
        policy_version: int,
        rollouts: tuple[RolloutView, ...],
        hinted: tuple[tuple[HintedTurn, ...], ...],
    ) -> None:
        """A generation batch was sampled and scored; `hinted` is parallel to `rollouts`."""
        ...

    def on_batch_consumed(self, train_step: int, rollout_uids: tuple[int, ...], policy_version: int) -> None:
        """A micro-batch of rollouts entered the loss."""
        ...

    def on_pairs_consumed(self, train_step: int, pair_ids: tuple[str, ...], weight: float) -> None:
        """A micro-batch of pairs entered the loss with this channel weight."""
        ...
