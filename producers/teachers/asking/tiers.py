"""Asking expensive teachers only at states where cheap ones disagree.

Flow: the answers of a tier → states at which the tiers so far disagree → the next tier is asked there.

**Teachers agree if their actions are canonically equal.** With fewer than two answers there is no agreement,
and the next tier is asked.
**The calls that are skipped are the saving; what they would have changed is measured** at skipped states for
which the lake already has an answer of the more expensive tier.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import orjson
from pydantic import BaseModel, ConfigDict

from tracelake.lake import Lake
from tracelake.producers.teachers.asking.jobs import Job, JobKey
from tracelake.schemas.message import canonical_action

ANSWERS_MIN = 2


class TierOutcome(BaseModel):
    """What one tier saved, and what that missed."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    tier: int
    state_count: int
    asked_state_count: int
    """States at which the tiers below disagree."""
    saved_call_count: int
    saved_usd: float
    """Expected cost of those calls."""
    measured_state_count: int
    """Skipped states for which the lake has an answer of this tier."""
    missed_state_count: int
    """Of these, states at which this tier's most frequent action differs from the consensus below."""

    @property
    def missed_share(self) -> float | None:
        """None if nothing could be measured."""
        return self.missed_state_count / self.measured_state_count if self.measured_state_count else None


def tiers_of(jobs: Iterable[Job]) -> list[int]:
    """In the order of asking."""
    return sorted({job.teacher.spec.tier for job in jobs})


def actions_of(lake: Lake, jobs: Sequence[Job]) -> dict[JobKey, str]:
    """Canonical actions of the answers in the table."""
    wanted = {job.key for job in jobs}
    table = lake.scan("teacher_answered").select("request_key", "sample_index", "action_json").collect()
    return {
        (request_key, sample): canonical_action(orjson.loads(action))
        for request_key, sample, action in table.iter_rows()
        if (request_key, sample) in wanted
    }


def consensus_of(jobs: Sequence[Job], actions: Mapping[JobKey, str]) -> dict[str, str]:
    """State → the action that all answers to these jobs share, if there are at least two."""
    by_state: dict[str, list[str]] = defaultdict(list)
    for job in jobs:
        if job.key in actions:
            by_state[job.question.state_key].append(actions[job.key])
    return {
        state: found[0]
        for state, found in by_state.items()
        if len(found) >= ANSWERS_MIN and len(set(found)) == 1
    }


def tier_outcome(
    tier: int,
    jobs: Sequence[Job],
    spared: Sequence[Job],
    consensus: Mapping[str, str],
    actions: Mapping[JobKey, str],
    saved_usd: float,
) -> TierOutcome:
    """`jobs` are all jobs of the tier; `spared` are those that are not asked, and would cost `saved_usd`."""
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for job in jobs:
        state = job.question.state_key
        if state in consensus and job.key in actions:
            votes[state][actions[job.key]] += 1
    missed = sum(consensus[state] != _most_frequent(counts) for state, counts in votes.items())
    states = {job.question.state_key for job in jobs}
    return TierOutcome(
        tier=tier,
        state_count=len(states),
        asked_state_count=len(states - set(consensus)),
        saved_call_count=len(spared),
        saved_usd=saved_usd,
        measured_state_count=len(votes),
        missed_state_count=missed,
    )


def _most_frequent(counts: Counter[str]) -> str:
    """Ties go to the first in text order."""
    return min(counts, key=lambda action: (-counts[action], action))
