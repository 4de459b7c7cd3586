"""The specification and the result of an A/B verdict.

**Effects are treatment minus control** in units of the metric. Every interval is two-sided at 1 - alpha.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tracelake.assets.folds.verdict.verdict_base import FrozenModel, VerdictOutcome
from tracelake.schemas.experiments.experiment import VerdictRule

ResamplingUnit = Literal["cluster", "task"]
SliceFinding = Literal["validated", "harmful", "inconclusive"]


class VerdictSpec(VerdictRule):
    """The registered rule, the experiment that it belongs to, and the data that it is applied to."""

    experiment_id: str
    title: str
    scale: str
    """Scope of the verdict, such as `small world`."""
    control_arm: str = "A"
    treatment_arm: str = "B"
    flip_count: int = Field(default=9_999, ge=99)
    """Random sign flips, if there are too many units for all of them."""
    score_min: float = 0.0
    score_max: float = 1.0
    """The range of scores, which bounds the ungraded ones."""
    resampling_unit: ResamplingUnit = "cluster"
    """The independent unit. Choose `task` only if these clusters are all that will ever exist."""
    slice_task_count_min: int = Field(default=5, ge=2)
    """Clusters with fewer tasks get no result of their own."""
    pin: str | None = None
    pin_digest: str | None = None
    spec_hash: str | None = None


class ArmResult(FrozenModel):
    """Scores of one arm on the paired seeds and tasks."""

    arm: str
    mean: float
    """Mean over graded (seed, task) cells of the mean over samples."""
    interval_low: float
    interval_high: float
    score_count: int
    ungraded_count: int
    """Rows without a score."""
    missing_count: int
    """(seed, task) cells of the other arm that this arm has no row for."""


class BootstrapResult(FrozenModel):
    """The bootstrap over clusters and paired seeds, resampled together."""

    percentile_low: float
    percentile_high: float
    bca_low: float | None
    bca_high: float | None
    """Null with too few clusters or seeds to estimate the skewness."""
    resample_count: int
    seed: int


class SliceResult(FrozenModel):
    """One cluster alone, with its tasks as units."""

    cluster: str
    task_count: int
    difference: float
    interval_low: float
    interval_high: float
    p_value: float
    """The larger of those from sign flips of tasks and from Student's t."""
    adjusted_p_value: float
    """After Holm's correction over the slices."""
    finding: SliceFinding


class LeaveOneOut(FrozenModel):
    """The difference without one cluster."""

    cluster: str
    difference: float


class Verdict(FrozenModel):
    """The outcome of an A/B experiment with all figures behind it."""

    spec: VerdictSpec
    outcome: VerdictOutcome
    compares: Literal["checkpoints", "methods"]
    """`checkpoints` with one seed per arm, which says nothing about the average effect of the method."""
    reasons: tuple[str, ...]
    """Sentences; the first one states the decision."""
    arms: tuple[ArmResult, ...]
    """Control first, then treatment, then the others by name."""
    difference: float
    """Mean of paired differences by (seed, task), graded in both arms."""
    worst_difference: float
    best_difference: float
    """The same if all ungraded scores had gone against, or for, the treatment."""
    interval_low: float
    interval_high: float
    """The deciding interval: at each end the wider of Student's and the bootstrap's, with ungraded scores at
    their worst and best."""
    standard_error: float
    df: float | None
    """Degrees of freedom of the standard error; null for infinite."""
    clustered_low: float
    clustered_high: float
    """Student's interval from the two-way clustered standard error, graded scores only."""
    bootstrap: BootstrapResult
    p_value: float
    """From sign flips of units: compares these checkpoints."""
    seed_p_value: float | None
    """From Student's t on the means of seeds: compares the methods. Null with one seed."""
    achieved_power: float
    """Probability that the interval excludes 0 if the minimum effect is true."""
    minimum_detectable_effect: float
    """Smallest effect that is found with the required power."""
    needed_task_count: int | None
    """Tasks needed on these seeds for the required power; null if no number of tasks is enough."""
    needed_seed_count: int | None
    """Seeds needed on these tasks; null if no number of seeds is enough, or with one seed."""
    slices: tuple[SliceResult, ...]
    leave_one_out: tuple[LeaveOneOut, ...]
    """The clusters whose absence lowers and raises the difference most."""
    resampling_unit: ResamplingUnit
    unit_count: int
    effective_unit_count: float
    """Number of equal units with as much information as these unequal ones."""
    cluster_count: int
    task_count: int
    pair_count: int
    """(seed, task) cells graded in both arms."""
    seeds: tuple[int, ...]
    """Seeds that both arms have."""
    unpaired_seeds: tuple[int, ...]
    """Seeds of one arm only, left out."""
