"""Shared by the verdicts on arms and on replay costs: outcomes, the base of their models, figures as text."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

VerdictOutcome = Literal["VALIDATED", "PARTIAL", "INVALIDATED", "UNDERPOWERED"]


class FrozenModel(BaseModel):
    """Plain data: JSON-able, immutable, without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def signed(value: float) -> str:
    """Three decimals with a sign; scientific notation if they would all be 0."""
    return f"{value:+.3f}" if value == 0 or abs(value) >= 0.0005 else f"{value:+.1e}"
