"""Experiment files of type `replay-cost`: cost and time of showing recorded traces to frozen teachers.

**The file names the claim's teachers, with the prices of the day.** A replay through other teachers is a
rehearsal, whose verdict cannot show the claim. Prices looked up later would differ.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from tracelake.schemas.experiments.sections import IDENTIFIER, Hypothesis, Section

Dollars = Annotated[Decimal, Field(ge=0)]


class TraceChoice(Section):
    filter: str
    """`all`, or an SQL condition over rollouts, as `tracelake replay --traces` takes it."""
    turn_count_min: int = Field(ge=1)
    """Chosen traces with fewer turns do not count."""


class Asking(Section):
    teachers_file: str
    """Relative to the experiment's file."""
    budget_usd: str = Field(pattern=r"^\d{1,7}(\.\d{1,6})?$")
    """Over all runs of the replay, as `tracelake replay --budget` takes it."""


class ClaimedTeacher(Section):
    """A teacher of the claim. Its prices, in dollars per million tokens, give the projected cost; the
    measured cost does not depend on them.
    """

    teacher: str = Field(min_length=1)
    """Its name in the lake: the model, and `@REVISION` where the teacher file gives one."""
    input: Dollars
    """Of prompt tokens."""
    cached_input: Dollars
    """Of prompt tokens that came from a cache."""
    cache_write: Dollars | None = None
    """Of tokens that enter the cache; null where they cost the same as others."""
    output: Dollars
    """Of completion tokens."""


class CostThresholds(Section):
    dollars_per_trace_max: float = Field(gt=0)
    """The mean over traces, all teachers together, must be shown to lie below it."""
    seconds_per_turn_max: float = Field(gt=0)
    """The 95th percentile over turns, each turn as slow as its slowest teacher, must be shown to lie below
    it.
    """
    answered_share_min: float = Field(default=0.99, gt=0, le=1)
    """Share of the questions that must be answered: a teacher that answers nothing is cheap."""
    traces_min: int = Field(ge=2)
    """Traces that every teacher was asked about in full."""


class CostRule(Section):
    alpha: float = Field(default=0.05, gt=0, lt=1)
    """Intervals cover 1 − alpha."""
    resample_count: int = Field(default=2_000, ge=100)
    """Resamples of the bootstrap over traces."""
    bootstrap_seed: int = Field(default=0, ge=0)
    """Seed of the resamples."""


class CostExperiment(Section):
    """Recorded traces are replayed through frozen teachers, and dollars and seconds are counted."""

    type: Literal["replay-cost"]
    """Measures the cost of a replay."""
    id: str = Field(pattern=IDENTIFIER)
    """Also the name of the replay, `tracelake replay --name`."""
    title: str
    """One line for the board."""
    scale: str
    """Scope of the verdict; printed with it."""
    gate: str = "none"
    """Experiment that should succeed before this one runs; shown on the board."""
    hypothesis: Hypothesis
    stop_rule: str
    """When the experiment ends, fixed before it begins."""
    traces: TraceChoice
    asking: Asking
    teachers: tuple[ClaimedTeacher, ...] = Field(min_length=1)
    thresholds: CostThresholds
    verdict: CostRule = CostRule()
