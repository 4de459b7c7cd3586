"""The rule on simulated experiments with known effects: it finds planted effects, and no absent ones.

Tolerances are three standard errors of the simulation itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from tests.assets.folds.score_frames import drawn_cells, spec
from tracelake.assets.folds.statistics.power import power_of
from tracelake.assets.folds.verdict.ab_model import Verdict
from tracelake.assets.folds.verdict.ab_verdict import decide

ALPHA = 0.05
RULE = spec(resample_count=200, flip_count=199, alpha=ALPHA)


def simulated(experiment_count: int, seed: int, rule: object = RULE, **truth: object) -> list[Verdict]:
    generator = np.random.default_rng(seed)
    return [decide(drawn_cells(generator, **truth), rule) for _ in range(experiment_count)]  # type: ignore[arg-type]


def share(found: list[Verdict], holds: Callable[[Verdict], bool]) -> float:
    return sum(map(holds, found)) / len(found)


def three_errors(rate: float, count: int) -> float:
    return 3 * (rate * (1 - rate) / count) ** 0.5


@pytest.mark.parametrize(
    "truth",
    [
        {"task_count": 60},
        {"task_count": 60, "cluster_count": 12, "cluster_sd": 0.15},
        {"task_count": 40, "cluster_count": 8, "seed_count": 3, "seed_sd": 0.1},
        {"task_count": 40, "seed_count": 2, "seed_sd": 0.2},
    ],
    ids=["tasks", "clusters", "seeds and clusters", "two unlike seeds"],
)
def test_equal_arms_differ_no_more_often_than_alpha(truth: dict[str, object]) -> None:
    count = 400
    found = simulated(count, 11, **truth)
    excluded = share(found, lambda each: each.interval_low > 0 or each.interval_high < 0)
    assert excluded <= ALPHA + three_errors(ALPHA, count)


def test_slices_claim_no_more_than_alpha() -> None:
    """Eight slices without an effect each have their chance to be called one."""
    count = 400
    found = simulated(count, 16, task_count=120, cluster_count=8)
    claimed = share(found, lambda each: each.outcome in ("VALIDATED", "PARTIAL"))
    assert claimed <= ALPHA + three_errors(ALPHA, count)


def test_ignoring_clusters_would_find_absent_effects() -> None:
    """The same null with tasks as units: this is why clusters are the units."""
    rule = RULE.model_copy(update={"resampling_unit": "task"})
    found = simulated(100, 11, rule, task_count=120, cluster_count=6, cluster_sd=0.3)
    assert share(found, lambda each: each.interval_low > 0 or each.interval_high < 0) > 0.15


def test_a_planted_effect_is_found_at_the_stated_power() -> None:
    """The effect equals the minimum effect, so `achieved_power` states the expected rate."""
    count, effect = 400, 0.2
    rule = spec(resample_count=200, flip_count=199, minimum_effect=effect)
    found = simulated(count, 12, rule, effect=effect, task_count=100)
    seen = share(found, lambda each: each.interval_low > 0)
    stated = float(np.median([each.achieved_power for each in found]))
    true_error = float(np.std([each.difference for each in found]))
    assert stated == pytest.approx(power_of(effect, true_error, alpha=ALPHA, df=99), abs=0.05)
    # The deciding interval is the wider of two, so it may find a little less than Student's alone.
    assert stated - three_errors(stated, count) - 0.05 <= seen <= stated + three_errors(stated, count)


def test_a_planted_effect_is_found_over_seeds_too() -> None:
    rule = spec(resample_count=200, flip_count=199, minimum_effect=0.15)
    found = simulated(200, 13, rule, effect=0.25, seed_count=5, seed_sd=0.03, task_count=120)
    assert share(found, lambda each: each.outcome == "VALIDATED") > 0.9


def test_intervals_cover_the_true_effect() -> None:
    count = 300
    found = simulated(count, 14, effect=0.15, task_count=60, cluster_count=15, cluster_sd=0.1)
    covered = share(found, lambda each: each.interval_low <= 0.15 <= each.interval_high)
    assert covered >= 1 - ALPHA - three_errors(ALPHA, count)


def test_an_absent_effect_is_refuted_with_enough_tasks_and_not_with_few() -> None:
    rule = spec(resample_count=200, flip_count=199, minimum_effect=0.12)
    many = Counter(each.outcome for each in simulated(50, 15, rule, task_count=600))
    few = Counter(each.outcome for each in simulated(50, 15, rule, task_count=30))
    assert many["INVALIDATED"] >= 45
    assert few["UNDERPOWERED"] >= 45
