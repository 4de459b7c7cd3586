"""From attempts at answers to a verdict on what a replay costs and how long it takes.

Flow: attempts of one replay → (trace, turn, teacher) → traces that every teacher was asked about as a whole →
dollars per trace, seconds per turn, answered share → findings → outcome.

VALIDATED: every teacher of the claim was asked about enough traces, the mean's interval lies below the
threshold of dollars, the interval of the 95th percentile below that of seconds, enough was answered, and the
dollars are the providers' word. PARTIAL: that holds for some of these teachers only. INVALIDATED: an interval
lies above its threshold, or too little was answered. UNDERPOWERED: none of these.

**What nobody knows is bounded**: an attempt of unknown cost is nothing where a claim would fail by it, and
its maximum where it would hold by it.
**A state that several traces share is paid by the first**, as it was asked.
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
import polars as pl

from tracelake.assets.folds.replay_cost.measures import Cells, cells_of, measure
from tracelake.assets.folds.replay_cost.model import (
    CostSpec,
    CostVerdict,
    Label,
    Measured,
    Outcome,
    Projected,
    TeacherCost,
)
from tracelake.assets.folds.replay_cost.reasons import STATED_SHARE_MIN, cost_reasons
from tracelake.assets.folds.replay_cost.teacher_spend import teacher_spend

MIX_TEACHERS_MAX = 6
"""Parts of more teachers than this are too many to look at."""


class CostEvents(NamedTuple):
    """Attempts of one replay, and the turns of the chosen traces."""

    turns: pl.DataFrame
    """`rollout_id`, `turn_index`, `state_key`."""
    reserved: pl.DataFrame
    settled: pl.DataFrame
    answered: pl.DataFrame
    failed: pl.DataFrame


def replay_cost(
    events: CostEvents, spec: CostSpec, *, projected: Projected | None = None, registered_late: bool = False
) -> CostVerdict:
    """Events of other attempts are left out."""
    turns = _long_enough(events.turns, spec.turn_count_min)
    asked = set(events.reserved["teacher"])
    claimed = [teacher for teacher in spec.teachers if teacher in asked]
    judged = claimed or sorted(asked)
    spend = teacher_spend(events.reserved, events.settled, events.answered, events.failed)
    cells = cells_of(turns, events.reserved, spend, events.answered, events.failed, judged)
    found = measure(cells, judged, spec) if judged and cells.traces else None
    teachers = tuple(_teacher(events, cells, spend, teacher, spec) for teacher in judged) if found else ()
    draft = CostVerdict(
        spec=spec,
        outcome="UNDERPOWERED",
        reasons=(),
        rehearsal=bool(judged) and not claimed,
        trace_count=len(cells.traces),
        turn_count=len(cells.turn_traces),
        chosen_trace_count=turns["rollout_id"].n_unique(),
        measured=found,
        teachers=teachers,
        absent_teachers=tuple(teacher for teacher in spec.teachers if teacher not in asked),
        cheaper_mix=_mix(cells, teachers, found, spec) if found else None,
        projected=projected,
        registered_late=registered_late,
    )
    return _decided(draft)


def _decided(draft: CostVerdict) -> CostVerdict:
    decided = draft.model_copy(update={"outcome": _outcome(draft)})
    return decided.model_copy(update={"reasons": tuple(cost_reasons(decided))})


def _outcome(found: CostVerdict) -> Outcome:
    if found.measured is None or found.rehearsal or found.trace_count < found.spec.thresholds.traces_min:
        return "UNDERPOWERED"
    findings = found.measured.findings.all
    if "fails" in findings:
        return "PARTIAL" if found.cheaper_mix is not None else "INVALIDATED"
    if "open" in findings or any(each.stated_share < STATED_SHARE_MIN for each in found.teachers):
        return "UNDERPOWERED"
    return "PARTIAL" if found.absent_teachers else "VALIDATED"


def _long_enough(turns: pl.DataFrame, turn_count_min: int) -> pl.DataFrame:
    return turns.filter(pl.len().over("rollout_id") >= turn_count_min)


def _mix(cells: Cells, teachers: tuple[TeacherCost, ...], whole: Measured, spec: CostSpec) -> Measured | None:
    """The largest part for which all holds, by the providers' word; of equal size, the cheapest."""
    if "fails" not in whole.findings.all or len(teachers) > MIX_TEACHERS_MAX:
        return None
    stated = [each.teacher for each in teachers if each.stated_share >= STATED_SHARE_MIN]
    for size in range(min(len(stated), len(teachers) - 1), 0, -1):
        parts = [measure(cells, list(part), spec) for part in combinations(stated, size)]
        holding = [part for part in parts if set(part.findings.all) == {"holds"}]
        if holding:
            return min(holding, key=lambda part: part.dollars_per_trace_max.mean)
    return None


def _teacher(
    events: CostEvents, cells: Cells, spend: pl.DataFrame, teacher: str, spec: CostSpec
) -> TeacherCost:
    in_traces = pl.col("rollout_id").is_in(cells.traces) & (pl.col("teacher") == teacher)
    reserved = events.reserved.filter(in_traces)
    mine = pl.col("attempt_id").is_in(reserved["attempt_id"].implode())
    answered, failed = events.answered.filter(mine), events.failed.filter(mine)
    told = answered.filter(pl.col("cached_token_count").is_not_null())
    prompts = int(told["prompt_token_count"].sum())
    counted = failed.group_by("failure").agg(pl.len().alias("count")).sort("failure")
    return TeacherCost(
        teacher=teacher,
        served_by=tuple(sorted(_servers(answered))),
        cost_from=_label(reserved, events.settled.filter(mine)),
        stated_share=_stated_share(spend.filter(in_traces)),
        attempt_count=reserved.height,
        failures=dict(counted.iter_rows()),
        prompt_token_count=int(answered["prompt_token_count"].sum()),
        cached_share=int(told["cached_token_count"].sum()) / prompts if prompts else None,
        completion_token_count=int(answered["completion_token_count"].sum()),
        measured=measure(cells, [teacher], spec),
    )


def _servers(answered: pl.DataFrame) -> set[str]:
    pairs = answered.select("model_served", "provider").unique().iter_rows()
    return {f"{model or 'unnamed'}{f' by {provider}' if provider else ''}" for model, provider in pairs}


def _label(reserved: pl.DataFrame, settled: pl.DataFrame) -> Label:
    """Who says what the attempts cost, where anybody does."""
    if not np.any(reserved["max_cost_microusd"].to_numpy()):
        return "free"
    names: dict[str, Label] = {
        "provider": "provider",
        "reconciled": "provider",
        "price_table": "price table",
    }
    labels: set[Label] = {names[source] for source in settled["cost_source"].unique() if source in names}
    if not labels:
        return "unknown"
    return labels.pop() if len(labels) == 1 else "mixed"


def _stated_share(spend: pl.DataFrame) -> float:
    known = int(spend["settled_microusd"].sum())
    return int(spend["stated_microusd"].sum()) / known if known else 0.0
