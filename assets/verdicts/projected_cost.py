"""What a replay would cost: recorded token counts through registered prices. Nobody is asked.

**What is projected is not measured**: the counts are those of the student's tokenizer and completions, and a
teacher may say more, or count otherwise.
"""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import polars as pl

from tracelake.assets.folds.replay_cost.measures import spread_of
from tracelake.assets.folds.replay_cost.model import Projected, ProjectedDollars
from tracelake.assets.folds.statistics.exact_tests import Floats
from tracelake.producers.teachers.pricing.price_table import Prices, per_token
from tracelake.producers.teachers.pricing.prices import exact_cost_usd
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
) -> Projected | None:
    """Of traces whose every turn tells its tokens; rows of `PROJECTED_COLUMNS`. Null without such a trace."""
    told = pl.col("prompt_token_count").is_not_null() & pl.col("completion_token_count").is_not_null()
    complete = turns.filter(told.all().over("rollout_id")).sort("rollout_id", "turn_index")
    if not complete.height:
        return None
    dollars = [_per_trace(complete, prices_of(teacher)) for teacher in teachers]
    rows = [
        _projected_dollars(teacher.teacher, each, rule)
        for teacher, each in zip(teachers, dollars, strict=True)
    ]
    return Projected(
        trace_count=complete["rollout_id"].n_unique(),
        turn_count=complete.height,
        teachers=tuple(rows),
        total=_projected_dollars(TOTAL, np.sum(dollars, axis=0), rule),
    )


def prices_of(teacher: ClaimedTeacher) -> Prices:
    written = teacher.input if teacher.cache_write is None else teacher.cache_write
    plain, read, entered, said = map(
        per_token, (teacher.input, teacher.cached_input, written, teacher.output)
    )
    return Prices(plain, read, entered, said, source="experiment")


def _projected_dollars(teacher: str, dollars: Floats, rule: CostRule) -> ProjectedDollars:
    return ProjectedDollars(
        teacher=teacher, uncached=spread_of(dollars[0], rule), cached=spread_of(dollars[1], rule)
    )


def _per_trace(turns: pl.DataFrame, prices: Prices) -> Floats:
    """[2, T] dollars: without a cache, with a perfect one."""
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
