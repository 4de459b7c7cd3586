"""Experiment files of type `replay-cost`: what it costs to show recorded traces to frozen teachers, and how
long it takes.

**The teachers that the claim is about are named, with their prices of the day.** A replay through others is a
rehearsal, whose verdict cannot show the claim; and prices that are looked up later would be others.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from tracelake.schemas.experiments.experiment_parts import IDENTIFIER, Hypothesis, Part

Dollars = Annotated[Decimal, Field(ge=0)]


class TraceChoice(Part):
    filter: str
    """`all`, or an SQL condition over rollouts, as `tracelake replay --traces` takes it."""
    turn_count_min: int = Field(ge=1)
    """Chosen traces with fewer turns do not count."""


class Asking(Part):
    teachers_file: str
    """Relative to the experiment's file."""
    budget_usd: str = Field(pattern=r"^\d{1,7}(\.\d{1,6})?$")
    """Over all runs of the replay, as `tracelake replay --budget` takes it."""


class ClaimedTeacher(Part):
    """A teacher of the claim. Its prices, in dollars per million tokens, say what is projected; they are
    no part of what is measured.
    """

    teacher: str = Field(min_length=1)
    """Its name in the lake: the model, and `@REVISION` where the teacher file gives one."""
    input: Dollars
    """Of prompt tokens."""
    cached_input: Dollars
    """Of prompt tokens that came from a cache."""
    cache_write: Dollars | None = None
    """Of tokens that enter the cache; null where they cost as any other."""
    output: Dollars
    """Of completion tokens."""


class CostThresholds(Part):
    dollars_per_trace_max: float = Field(gt=0)
    """The mean over traces, all teachers together, has to be shown to lie below it."""
    seconds_per_turn_max: float = Field(gt=0)
    """The 95th percentile over turns, each turn as slow as its slowest teacher, has to be shown to lie below
    it.
    """
    answered_share_min: float = Field(default=0.99, gt=0, le=1)
    """Of the questions; who answers nothing is cheap."""
    traces_min: int = Field(ge=2)
    """Traces that were put to every teacher as a whole."""


class CostRule(Part):
    alpha: float = Field(default=0.05, gt=0, lt=1)
    """Intervals hold 1 − alpha."""
    resample_count: int = Field(default=2_000, ge=100)
    """Resamples of the bootstrap over traces."""
    bootstrap_seed: int = Field(default=0, ge=0)
    """Draws the resamples."""


class CostExperiment(Part):
    """Recorded traces are replayed through frozen teachers, and dollars and seconds are counted."""

    type: Literal["replay-cost"]
    """A replay whose cost is measured."""
    id: str = Field(pattern=IDENTIFIER)
    """Also the name of the replay, `tracelake replay --name`."""
    title: str
    """One line for the board."""
    scale: str
    """What the verdict may speak for; printed with it."""
    gate: str = "none"
    """What had to be shown before this may run."""
    hypothesis: Hypothesis
    stop_rule: str
    """When it ends, said before it begins."""
    traces: TraceChoice
    asking: Asking
    teachers: tuple[ClaimedTeacher, ...] = Field(min_length=1)
    thresholds: CostThresholds
    verdict: CostRule = CostRule()
