"""Retracted rollouts in pins, for the commands that show pins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracelake.schemas.errors import TracelakeError

if TYPE_CHECKING:
    from tracelake.lake import Lake


def retracted_by_pin(lake: Lake) -> dict[str, tuple[str, ...] | None]:
    """Retracted rollouts of each pin, by its reference; null for a pin whose tables cannot be read, which
    `tracelake pins --check` explains."""
    found: dict[str, tuple[str, ...] | None] = {}
    for pin in lake.pins():
        try:
            found[pin.reference] = lake.retracted_in(pin)
        except (TracelakeError, OSError, ValueError):
            found[pin.reference] = None
    return found


def retracted_text(reference: str, rollout_count: int, cure: str = "") -> str:
    rollouts = "rollout of it has" if rollout_count == 1 else "of its rollouts have"
    return f"pin {reference}: {rollout_count} {rollouts} been retracted since{cure}"
