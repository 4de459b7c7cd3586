"""From attempts at answers to a verdict on the dollars and seconds of a replay.

Flow: attempts of one replay → (trace, turn, teacher) → traces that every teacher was asked about as a whole →
dollars per trace, seconds per turn, answered share → findings → outcome → reasons.

VALIDATED: every teacher of the claim was asked about enough traces, the mean's interval lies below the
threshold of dollars, the interval of the 95th percentile below that of seconds, enough was answered, and the
providers stated the dollars. PARTIAL: that holds for some of these teachers only. INVALIDATED: an interval
lies above its threshold, or too little was answered. UNDERPOWERED: none of these.

**Unknown cost is bounded**: an attempt of unknown cost counts as 0 when a claim would fail by it, and as its
maximum when a claim would hold by it.
**The first of several traces that share a state pays for it**, because it was asked then.
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
import polars as pl

from tracelake.assets.folds.replay_cost.cost_model import (
    CostSource,
    CostSpec,
    CostVerdict,
    MeasuredCost,
    ProjectedCost,
    TeacherCost,
)
from tracelake.assets.folds.replay_cost.cost_reasons import STATED_SHARE_MIN, cost_reasons
from tracelake.assets.folds.replay_cost.measures import CostArrays, cost_arrays, measured_cost
from tracelake.assets.folds.replay_cost.spend import teacher_spend
from tracelake.assets.folds.verdict.verdict_base import VerdictOutcome

MIX_TEACHERS_MAX = 6
"""The subsets of more teachers than this are too many to try."""


class ReplayEvents(NamedTuple):
    """Attempts of one replay, and the turns of the chosen traces."""

    turns: pl.DataFrame
    """`rollout_id`, `turn_index`, `state_key`."""
    reserved: pl.DataFrame
    settled: pl.DataFrame
    answered: pl.DataFrame
    failed: pl.DataFrame


def cost_verdict(
    events: ReplayEvents,
    spec: CostSpec,
    *,
    projected: ProjectedCost | None = None,
    registered_late: bool = False,
) -> CostVerdict:
    """The claim's teachers decide; if none of them was asked, the others are measured as a rehearsal."""
    turns = events.turns.filter(pl.len().over("rollout_id") >= spec.turn_count_min)
    asked = set(events.reserved["teacher"])
    claimed = [teacher for teacher in spec.teachers if teacher in asked]
    names = claimed or sorted(asked)
    spend = teacher_spend(events.reserved, events.settled, events.answered, events.failed)
    arrays = cost_arrays(turns, events.reserved, spend, events.answered, events.failed, names)
    measured = measured_cost(arrays, names, spec) if names and arrays.traces else None
    teachers = tuple(_teacher_cost(events, arrays, spend, name, spec) for name in names) if measured else ()
    draft = CostVerdict(
        spec=spec,
        outcome="UNDERPOWERED",
        reasons=(),
        rehearsal=bool(names) and not claimed,
        trace_count=len(arrays.traces),
        turn_count=len(arrays.turn_traces),
        chosen_trace_count=turns["rollout_id"].n_unique(),
        measured=measured,
        teachers=teachers,
        absent_teachers=tuple(teacher for teacher in spec.teachers if teacher not in asked),
        cheaper_mix=_cheaper_mix(arrays, teachers, measured, spec) if measured else None,
        projected=projected,
        registered_late=registered_late,
    )
    decided = draft.model_copy(update={"outcome": _outcome(draft)})
    return decided.model_copy(update={"reasons": tuple(cost_reasons(decided))})


def _teacher_cost(
    events: ReplayEvents, arrays: CostArrays, spend: pl.DataFrame, teacher: str, spec: CostSpec
) -> TeacherCost:
    in_traces = pl.col("rollout_id").is_in(arrays.traces) & (pl.col("teacher") == teacher)
    reserved = events.reserved.filter(in_traces)
    of_teacher = pl.col("attempt_id").is_in(reserved["attempt_id"].implode())
    answered, failed = events.answered.filter(of_teacher), events.failed.filter(of_teacher)
    with_cache_count = answered.filter(pl.col("cached_token_count").is_not_null())
    prompts = int(with_cache_count["prompt_token_count"].sum())
    cached = int(with_cache_count["cached_token_count"].sum())
    failure_counts = failed.group_by("failure").agg(pl.len().alias("count")).sort("failure")
    spent = spend.filter(in_traces)
    known = int(spent["settled_microusd"].sum())
    return TeacherCost(
        teacher=teacher,
        served_by=tuple(sorted(_servers(answered))),
        cost_from=_cost_source(reserved, events.settled.filter(of_teacher)),
        stated_share=int(spent["stated_microusd"].sum()) / known if known else 0.0,
        attempt_count=reserved.height,
        failures=dict(failure_counts.iter_rows()),
        prompt_token_count=int(answered["prompt_token_count"].sum()),
        cached_share=cached / prompts if prompts else None,
        completion_token_count=int(answered["completion_token_count"].sum()),
        measured=measured_cost(arrays, [teacher], spec),
    )


def _servers(answered: pl.DataFrame) -> set[str]:
    pairs = answered.select("model_served", "provider").unique().iter_rows()
    return {f"{model or 'unnamed'}{f' by {provider}' if provider else ''}" for model, provider in pairs}


def _cost_source(reserved: pl.DataFrame, settled: pl.DataFrame) -> CostSource:
    if not np.any(reserved["max_cost_microusd"].to_numpy()):
        return "free"
    names: dict[str, CostSource] = {
        "provider": "provider",
        "reconciled": "provider",
        "price_table": "price table",
    }
    sources: set[CostSource] = {
        names[source] for source in settled["cost_source"].unique() if source in names
    }
    if not sources:
        return "unknown"
    return sources.pop() if len(sources) == 1 else "mixed"


def _cheaper_mix(
    arrays: CostArrays, teachers: tuple[TeacherCost, ...], whole: MeasuredCost, spec: CostSpec
) -> MeasuredCost | None:
    """The largest subset with stated dollars for which all thresholds hold; of equal size, the cheapest."""
    if "fails" not in whole.findings.all or len(teachers) > MIX_TEACHERS_MAX:
        return None
    stated = [each.teacher for each in teachers if each.stated_share >= STATED_SHARE_MIN]
    for size in range(min(len(stated), len(teachers) - 1), 0, -1):
        mixes = [measured_cost(arrays, list(subset), spec) for subset in combinations(stated, size)]
        holding = [mix for mix in mixes if set(mix.findings.all) == {"holds"}]
        if holding:
            return min(holding, key=lambda mix: mix.dollars_per_trace_max.mean)
    return None


def _outcome(verdict: CostVerdict) -> VerdictOutcome:
    traces_min = verdict.spec.thresholds.traces_min
    if verdict.measured is None or verdict.rehearsal or verdict.trace_count < traces_min:
        return "UNDERPOWERED"
    findings = verdict.measured.findings.all
    if "fails" in findings:
        return "PARTIAL" if verdict.cheaper_mix is not None else "INVALIDATED"
    if "open" in findings or any(each.stated_share < STATED_SHARE_MIN for each in verdict.teachers):
        return "UNDERPOWERED"
    return "PARTIAL" if verdict.absent_teachers else "VALIDATED"
