"""What a verdict is asked, and what it says: plain data, JSON-able, frozen.

**Effects are treatment minus control** in units of the metric. Every interval is two-sided at 1 - alpha.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Outcome = Literal["VALIDATED", "PARTIAL", "INVALIDATED", "UNDERPOWERED"]
Unit = Literal["cluster", "task"]


class VerdictPart(BaseModel):
    """Base of everything here."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class VerdictSpec(VerdictPart):
    """The rule, registered before the first run."""

    experiment_id: str
    title: str
    claim: str | None = None
    scale: str
    """What the verdict may speak for, such as `small world`."""
    metric: str = "pass"
    control_arm: str = "A"
    treatment_arm: str = "B"
    minimum_effect: float = Field(gt=0)
    """Smallest effect that would matter."""
    alpha: float = Field(default=0.05, gt=0, lt=1)
    required_power: float = Field(default=0.8, gt=0, lt=1)
    resample_count: int = Field(default=10_000, ge=100)
    flip_count: int = Field(default=9_999, ge=99)
    bootstrap_seed: int = Field(default=0, ge=0)
    score_min: float = 0.0
    score_max: float = 1.0
    """Scores lie between these; what could not be graded is bounded by them."""
    resampling_unit: Unit = "cluster"
    """What is independent of each other. `task` is for clusters that are all there will ever be."""
    slice_task_count_min: int = Field(default=5, ge=2)
    """Clusters with fewer tasks are not looked at on their own."""
    pin: str | None = None
    pin_digest: str | None = None
    spec_hash: str | None = None
    lock_digests: dict[str, str] = Field(default_factory=dict)


class ArmResult(VerdictPart):
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
    """(seed, task) cells that the other arm has and this one lacks."""


class BootstrapResult(VerdictPart):
    """Clusters and paired seeds resampled together."""

    percentile_low: float
    percentile_high: float
    bca_low: float | None
    bca_high: float | None
    """Null with too few clusters or seeds for a skewness to be estimated."""
    resample_count: int
    seed: int


class SliceResult(VerdictPart):
    """One cluster on its own, its tasks as units."""

    cluster: str
    task_count: int
    difference: float
    interval_low: float
    interval_high: float
    p_value: float
    """The larger of sign flips of tasks and Student's t."""
    adjusted_p_value: float
    """After Holm, over the slices."""
    finding: Literal["validated", "harmful", "inconclusive"]


class LeaveOneOut(VerdictPart):
    """The difference without one cluster."""

    cluster: str
    difference: float


class Verdict(VerdictPart):
    """The decision with all that it rests on."""

    spec: VerdictSpec
    outcome: Outcome
    compares: Literal["checkpoints", "methods"]
    """`checkpoints` with one seed per arm: nothing was learnt about what training does on average."""
    reasons: tuple[str, ...]
    arms: tuple[ArmResult, ...]
    """Control first, then treatment, then the others by name."""
    difference: float
    """Mean of paired differences by (seed, task), graded in both arms."""
    worst_difference: float
    best_difference: float
    """The same if everything ungraded had gone against, or for, the treatment."""
    interval_low: float
    interval_high: float
    """The deciding interval: the wider of Student's and the bootstrap's at each end, ungraded items at their
    worst and best."""
    standard_error: float
    df: float | None
    """Degrees of freedom of the standard error; null for none lost."""
    clustered_low: float
    clustered_high: float
    """Student's interval from the two-way clustered standard error, graded items only."""
    bootstrap: BootstrapResult
    p_value: float
    """Sign flips of units: these checkpoints."""
    seed_p_value: float | None
    """Student's t on the means of seeds: the methods. Null with one seed."""
    achieved_power: float
    """Chance that the interval excludes 0 if the minimum effect were true."""
    minimum_detectable_effect: float
    """Effect that is found with the required power."""
    needed_task_count: int | None
    """Tasks, on these seeds, for the required power; null if no number of tasks is enough."""
    needed_seed_count: int | None
    """Seeds, on these tasks; null if no number of seeds is enough, or one seed cannot tell."""
    slices: tuple[SliceResult, ...]
    leave_one_out: tuple[LeaveOneOut, ...]
    """The clusters whose absence lowers and raises the difference most."""
    resampling_unit: Unit
    unit_count: int
    effective_unit_count: float
    """Equal units that would know as much as these unequal ones."""
    cluster_count: int
    task_count: int
    pair_count: int
    """(seed, task) cells graded in both arms."""
    seeds: tuple[int, ...]
    """Seeds that both arms have."""
    unpaired_seeds: tuple[int, ...]
    """Seeds of one arm only, left out."""
