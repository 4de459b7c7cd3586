"""The policy seam: what launching and evaluation need of a policy, whichever model is behind it.

**Policies are injected, like worlds.** `cli/injection.py` maps the names of experiment files to loaders;
nothing else in `consumers` knows a concrete policy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tracelake.schemas.environment import Policy


class TrainablePolicy(Policy, Protocol):
    """A policy whose weights TRL can update in place."""

    @property
    def model(self) -> PreTrainedModel:
        """What TRL trains; `act` samples from these very weights."""
        ...

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Carries the chat template that renders pairs and contexts."""
        ...

    def save(self, folder: Path) -> None:
        """Write weights and tokenizer as `save_pretrained` does."""
        ...


class PolicyLoader(Protocol):
    """Loads a policy from a folder that `TrainablePolicy.save` or a TRL checkpoint wrote."""

    def __call__(self, folder: Path, *, temperature: float) -> TrainablePolicy:
        """`temperature` is that of sampling."""
        ...
