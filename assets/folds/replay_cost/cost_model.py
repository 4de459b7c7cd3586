"""The specification and the result of a verdict on a replay's cost.

**Measured and projected figures stay apart**: no figure combines both.
Intervals are two-sided at 1 - alpha, over traces.
"""

from __future__ import annotations

from typing import Literal

from tracelake.assets.folds.verdict.verdict_base import FrozenModel, VerdictOutcome
from tracelake.schemas.experiments.cost_experiment import CostRule, CostThresholds

Finding = Literal["holds", "fails", "open"]
"""Shown to hold, shown not to hold, neither."""
CostSource = Literal["provider", "price table", "free", "unknown", "mixed"]


class CostSpec(FrozenModel):
    """The registered rule and the claim that it is applied to."""

    experiment_id: str
    title: str
    scale: str
    teachers: tuple[str, ...]
    """Teachers of the claim."""
    turn_count_min: int
    thresholds: CostThresholds
    rule: CostRule = CostRule()
    spec_hash: str | None = None


class DollarsPerTrace(FrozenModel):
    """Distribution over traces."""

    mean: float
    interval_low: float
    interval_high: float
    """Of the mean: at each end the wider of Student's and the bootstrap's."""
    median: float
    p95: float


class SecondsPerTurn(FrozenModel):
    """Distribution over turns. The interval is the bootstrap's over traces."""

    p50: float
    p95: float
    p95_low: float
    p95_high: float


class Findings(FrozenModel):
    dollars: Finding
    seconds: Finding
    answers: Finding

    @property
    def all(self) -> tuple[Finding, ...]:
        return (self.dollars, self.seconds, self.answers)


class MeasuredCost(FrozenModel):
    """Of one set of teachers, on the traces that all of them were asked about as a whole."""

    teachers: tuple[str, ...]
    dollars_per_trace: DollarsPerTrace
    """Attempts of unknown cost count as 0."""
    dollars_per_trace_max: DollarsPerTrace
    """Attempts of unknown cost count as the amount reserved for them."""
    traces_above_count: int
    """Traces that can cost more than the threshold."""
    seconds_per_turn: SecondsPerTurn | None
    """Of a turn's slowest teacher: the sum of the calls for its answer, without waits between them. Null if
    no latency was recorded.
    """
    question_count: int
    answered_share: float
    findings: Findings


class TeacherCost(FrozenModel):
    """One teacher."""

    teacher: str
    served_by: tuple[str, ...]
    """Models and their providers, as the answers name them."""
    cost_from: CostSource
    """Where the costs of the attempts come from."""
    stated_share: float
    """Share of the known dollars that the provider stated; 0 without known dollars."""
    attempt_count: int
    failures: dict[str, int]
    """Failed attempts by class."""
    prompt_token_count: int
    cached_share: float | None
    """Share of the prompt tokens that the endpoint read from a cache; null if it never reports them."""
    completion_token_count: int
    measured: MeasuredCost


class ProjectedDollars(FrozenModel):
    """Dollars per trace of one teacher, or of all, from recorded token counts and registered prices. No
    teacher was asked.
    """

    teacher: str
    uncached: DollarsPerTrace
    cached: DollarsPerTrace
    """As if the cache had every token of the turn before, and every other token were written to it."""


class ProjectedCost(FrozenModel):
    trace_count: int
    turn_count: int
    teachers: tuple[ProjectedDollars, ...]
    total: ProjectedDollars


class CostVerdict(FrozenModel):
    """The outcome of an experiment on a replay's cost with all figures behind it."""

    spec: CostSpec
    outcome: VerdictOutcome
    reasons: tuple[str, ...]
    """Sentences; the first one states the decision."""
    rehearsal: bool
    """None of the claim's teachers was asked: the figures are those of others."""
    trace_count: int
    """Traces that count."""
    turn_count: int
    """Their turns."""
    chosen_trace_count: int
    """Traces with enough turns that the filter chose."""
    measured: MeasuredCost | None
    """Null if no trace was put to the teachers as a whole."""
    teachers: tuple[TeacherCost, ...]
    absent_teachers: tuple[str, ...]
    """Teachers of the claim that were not asked."""
    cheaper_mix: MeasuredCost | None
    """The largest subset of the teachers for which all thresholds hold, if they do not hold for all."""
    projected: ProjectedCost | None
    registered_late: bool
    """The experiment was registered after the first call."""
