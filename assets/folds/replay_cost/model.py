"""What the verdict of a replay's cost is asked, and what it says: plain data, JSON-able, frozen.

**Measured and projected stand apart**: no figure is made of both.
Intervals are two-sided at 1 - alpha, over traces.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from tracelake.schemas.experiments.cost_experiment import CostRule, CostThresholds

Outcome = Literal["VALIDATED", "PARTIAL", "INVALIDATED", "UNDERPOWERED"]
Finding = Literal["holds", "fails", "open"]
"""Shown to hold, shown not to hold, neither."""
Label = Literal["provider", "price table", "free", "unknown", "mixed"]


class CostPart(BaseModel):
    """Base of everything here."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class CostSpec(CostPart):
    """The rule, registered before the first run."""

    experiment_id: str
    title: str
    scale: str
    teachers: tuple[str, ...]
    """That the claim is about."""
    turn_count_min: int
    thresholds: CostThresholds
    rule: CostRule = CostRule()
    spec_hash: str | None = None


class Spread(CostPart):
    """Over traces."""

    mean: float
    interval_low: float
    interval_high: float
    """Of the mean: the wider of Student's and the bootstrap's at each end."""
    median: float
    p95: float


class Pace(CostPart):
    """Seconds, over turns. The interval is the bootstrap's, with traces resampled."""

    p50: float
    p95: float
    p95_low: float
    p95_high: float


class Findings(CostPart):
    dollars: Finding
    seconds: Finding
    answers: Finding

    @property
    def all(self) -> tuple[Finding, ...]:
        return (self.dollars, self.seconds, self.answers)


class Measured(CostPart):
    """Of one set of teachers, on the traces that were put to all of them as a whole."""

    teachers: tuple[str, ...]
    dollars_per_trace: Spread
    """Attempts that nobody knows the cost of count as nothing."""
    dollars_per_trace_max: Spread
    """The same attempts at the most that was reserved for them."""
    traces_above_count: int
    """Traces dearer than the threshold."""
    seconds_per_turn: Pace | None
    """Of a turn's slowest teacher: the calls for its answer one after the other, without waits between
    them. Null where no latency was told.
    """
    question_count: int
    answered_share: float
    findings: Findings


class TeacherCost(CostPart):
    """One teacher."""

    teacher: str
    served_by: tuple[str, ...]
    """Models, with their providers, as the answers name them."""
    cost_from: Label
    """Who says what attempts cost, where anybody does."""
    stated_share: float
    """Of the dollars that are known, those that are the provider's word; 0 where there are none."""
    attempt_count: int
    failures: dict[str, int]
    """Failed attempts by class."""
    prompt_token_count: int
    cached_share: float | None
    """Of prompt tokens, those that the endpoint says it read from a cache; null where none counts them."""
    completion_token_count: int
    measured: Measured


class ProjectedDollars(CostPart):
    """Dollars per trace of one teacher, or of all, from recorded token counts and registered prices. Nobody
    was asked.
    """

    teacher: str
    uncached: Spread
    cached: Spread
    """As if every token of the turn before were read from a cache, and every other one were written."""


class Projected(CostPart):
    trace_count: int
    turn_count: int
    teachers: tuple[ProjectedDollars, ...]
    total: ProjectedDollars


class CostVerdict(CostPart):
    """The decision with all that it rests on."""

    spec: CostSpec
    outcome: Outcome
    reasons: tuple[str, ...]
    rehearsal: bool
    """None of the claim's teachers was asked: others were, and the figures are theirs."""
    trace_count: int
    """Traces that count."""
    turn_count: int
    """Their turns."""
    chosen_trace_count: int
    """Traces that the filter chose, of enough turns."""
    measured: Measured | None
    """Null if no trace was put to the teachers as a whole."""
    teachers: tuple[TeacherCost, ...]
    absent_teachers: tuple[str, ...]
    """Of the claim, not asked."""
    cheaper_mix: Measured | None
    """The largest part of the teachers for which all thresholds hold, where they do not for all."""
    projected: Projected | None
    registered_late: bool
    """The registration came after the first call."""
