"""The projected cost of a replay: recorded token counts at registered prices, without asking a teacher.

**Projected is not measured**: the counts are those of the student's tokenizer and completions, and a teacher
may answer at greater length, or count tokens differently.
"""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import polars as pl

from tracelake.assets.folds.replay_cost.cost_model import ProjectedCost, ProjectedDollars
from tracelake.assets.folds.replay_cost.measures import dollars_per_trace
from tracelake.assets.folds.statistics.contrast import Floats
from tracelake.producers.teachers.pricing.prices import Prices, exact_cost_usd, per_token
from tracelake.producers.teachers.pricing.usage import Usage
from tracelake.schemas.experiments.cost_experiment import ClaimedTeacher, CostRule

PROJECTED_COLUMNS = (
    "rollout_id",
    "turn_index",
    "parent_turn_index",
    "prompt_token_count",
    "completion_token_count",
)
TOTAL = "all"


def project_cost(
    turns: pl.DataFrame, teachers: tuple[ClaimedTeacher, ...], rule: CostRule
) -> ProjectedCost | None:
    """Of the traces with token counts at every turn; `turns` has `PROJECTED_COLUMNS`. Null without such a
    trace."""
    counted = pl.col("prompt_token_count").is_not_null() & pl.col("completion_token_count").is_not_null()
    complete = turns.filter(counted.all().over("rollout_id")).sort("rollout_id", "turn_index")
    if not complete.height:
        return None
    dollars = [_dollars_of_traces(complete, prices_of(teacher)) for teacher in teachers]
    rows = [
        _projected_dollars(teacher.teacher, each, rule)
        for teacher, each in zip(teachers, dollars, strict=True)
    ]
    return ProjectedCost(
        trace_count=complete["rollout_id"].n_unique(),
        turn_count=complete.height,
        teachers=tuple(rows),
        total=_projected_dollars(TOTAL, np.sum(dollars, axis=0), rule),
    )


def prices_of(teacher: ClaimedTeacher) -> Prices:
    cache_write = teacher.input if teacher.cache_write is None else teacher.cache_write
    return Prices(
        input=per_token(teacher.input),
        cached_input=per_token(teacher.cached_input),
        cache_write=per_token(cache_write),
        output=per_token(teacher.output),
        source="experiment",
    )


def _projected_dollars(teacher: str, dollars: Floats, rule: CostRule) -> ProjectedDollars:
    return ProjectedDollars(
        teacher=teacher,
        uncached=dollars_per_trace(dollars[0], rule),
        cached=dollars_per_trace(dollars[1], rule),
    )


def _dollars_of_traces(turns: pl.DataFrame, prices: Prices) -> Floats:
    """[2, T]: without a cache, with a perfect one."""
    sums: dict[str, list[Decimal]] = {}
    prompts: dict[tuple[str, int], int] = {}
    for rollout, turn, parent, prompt, completion in turns.select(PROJECTED_COLUMNS).iter_rows():
        prompts[rollout, turn] = prompt
        shared = 0 if parent is None else min(prompts.get((rollout, parent), 0), prompt)
        usages = (Usage(prompt, 0, 0, completion), Usage(prompt, shared, prompt - shared, completion))
        of_trace = sums.setdefault(rollout, [Decimal(0), Decimal(0)])
        for column, usage in enumerate(usages):
            of_trace[column] += exact_cost_usd(prices, usage)
    return np.array([[float(value) for value in pair] for pair in sums.values()]).T
