"""Asking dear teachers only where cheap ones do not agree.

Flow: a tier's answers are in → states at which the tiers so far split → the next tier is asked there.

**Teachers agree where their actions are canonically equal.** Where fewer than two answered, nobody can say
that they agree, and the next tier is asked.
**What it saves is what was not asked; what it misses is measured** where the lake holds a dearer teacher's
answer at a state that was passed over.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import orjson
from pydantic import BaseModel, ConfigDict

from tracelake.lake import Lake
from tracelake.producers.teachers.asking.jobs import Job, JobKey
from tracelake.schemas.errors import TableMissingError
from tracelake.schemas.message import canonical_action

ANSWERS_MIN = 2


class TierOutcome(BaseModel):
    """What a tier was spared."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    tier: int
    state_count: int
    asked_state_count: int
    """States at which the tiers below split."""
    saved_call_count: int
    saved_usd: float
    """What those calls were expected to cost."""
    measured_state_count: int
    """States that were passed over, and at which the lake holds an answer of this tier."""
    missed_state_count: int
    """Of these, where the tier's most frequent action is not the one that the tiers below agree on."""

    @property
    def missed_share(self) -> float | None:
        """Null where nothing could be measured."""
        return self.missed_state_count / self.measured_state_count if self.measured_state_count else None


def tiers_of(jobs: Iterable[Job]) -> list[int]:
    """In the order in which they are asked."""
    return sorted({job.teacher.spec.tier for job in jobs})


def actions_of(lake: Lake, jobs: Sequence[Job]) -> dict[JobKey, str]:
    """Canonical actions of the answers that the tables hold."""
    wanted = {job.key for job in jobs}
    try:
        table = lake.scan("teacher_answered").select("request_key", "sample_index", "action_json").collect()
    except TableMissingError:
        return {}
    return {
        (request_key, sample): canonical_action(orjson.loads(action))
        for request_key, sample, action in table.iter_rows()
        if (request_key, sample) in wanted
    }


def agreed(jobs: Sequence[Job], actions: Mapping[JobKey, str]) -> dict[str, str]:
    """State to the action that all answers to these jobs share, where there are enough of them."""
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
    """`jobs` are all of the tier, `spared` those that are not asked, of which `saved_usd` is the cost."""
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
    """Of equally frequent ones the first in the order of their texts."""
    return min(counts, key=lambda action: (-counts[action], action))
