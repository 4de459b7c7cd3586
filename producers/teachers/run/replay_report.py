"""What a replay came to, as its command prints it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from tracelake.producers.teachers.asking.tiers import TierOutcome
from tracelake.producers.teachers.run.run_control import StopReason


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class TeacherReport(Part):
    """Of one teacher, of this run alone."""

    name: str
    teacher: str
    """In the lake."""
    attempt_count: int
    answered_count: int
    failures: dict[str, int]
    """Failed attempts by class, those among them that were tried again with success."""
    settled_usd: float
    unknown_usd: float
    """Maxima of attempts of which nobody knows the cost."""
    prompt_token_count: int
    """As the endpoint counted, where it did."""
    cached_token_count: int
    """Of these, read from its cache."""
    cache_saved_usd: float
    """By the price list, against the same prompts without a cache; negative where writing to it cost more."""
    left_count: int
    stopped: str | None
    """Why this teacher was asked no more: every call would have failed alike."""


class ReplayReport(Part):
    """Of one run of a replay."""

    replay: str
    question_count: int
    known_count: int
    """Answers that the lake held."""
    refused_count: int
    """Not asked: they had failed before, and would again."""
    unsent_count: int
    """Not sent: over the window, or of unbounded cost."""
    answered_count: int
    budget_usd: float
    settled_usd: float
    """By all runs of the replay."""
    unknown_usd: float
    """Maxima of attempts of which nobody knows the cost, of all runs of the replay."""
    reconciled_count: int
    """Attempts whose cost was asked for later, and told."""
    left_count: int
    """Answers that are still missing."""
    left_expected_usd: float
    left_max_usd: float
    stopped: StopReason | None
    stop_detail: str
    teachers: tuple[TeacherReport, ...]
    tiers: tuple[TierOutcome, ...]
    wall_clock_s: float


class Progress(Part):
    """Where a run stands."""

    done_count: int
    total_count: int
    settled_usd: float
    """Settled and unknown, of all runs of the replay."""
    budget_usd: float
    left_usd: float | None
    """What the rest will cost if it costs as much as what was asked; null before the first answer."""
