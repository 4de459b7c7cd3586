"""A/B verdicts on scores written by hand: the conditions of each outcome, its figures and its reasons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from tests.assets.folds.score_frames import Scores, scores, spec
from tracelake.assets.folds.statistics.p_values import holm
from tracelake.assets.folds.verdict.ab_model import Verdict
from tracelake.assets.folds.verdict.ab_verdict import ab_verdict
from tracelake.cli.verdict_text import verdict_text
from tracelake.schemas.errors import BadInputError

CLUSTERS = [f"repo{index:02d}" for index in range(20)]


def even(figures: Sequence[float | None], clusters: Sequence[str] = CLUSTERS) -> Scores:
    """The same figures for the tasks of every cluster."""
    return dict.fromkeys(clusters, figures)


def compared(a: Scores, b: Scores, seeds: Sequence[int] = (0,), **rule: object) -> Verdict:
    return ab_verdict(scores({"A": a, "B": b}, seeds), spec(**rule))


def reasons_text(found: Verdict) -> str:
    return " ".join(found.reasons)


def mixed(gained: int, lost: int, same: int) -> tuple[Scores, Scores]:
    """One task per cluster: `gained` that only B passes, `lost` that only A passes, `same` that both pass."""
    figures = [(0, 1)] * gained + [(1, 0)] * lost + [(1, 1)] * same
    return tuple({f"task{i:03d}": [pair[arm]] for i, pair in enumerate(figures)} for arm in (0, 1))  # type: ignore[return-value]


class TestOutcomes:
    def test_validated_needs_an_interval_above_0_and_the_minimum_effect(self) -> None:
        found = compared(*mixed(gained=40, lost=10, same=100))
        assert found.outcome == "VALIDATED"
        assert found.difference == pytest.approx(30 / 150)
        assert found.interval_low > 0

    def test_an_effect_above_0_but_below_the_minimum_is_not_validated(self) -> None:
        found = compared(*mixed(gained=40, lost=10, same=100), minimum_effect=0.25)
        assert found.interval_low > 0
        assert found.outcome == "UNDERPOWERED"
        assert "not shown to reach the minimum effect" in found.reasons[0]

    def test_invalidated_needs_an_interval_below_the_minimum_effect_with_power(self) -> None:
        found = compared(*mixed(gained=20, lost=20, same=560))
        assert found.outcome == "INVALIDATED"
        assert found.interval_high < 0.1
        assert found.achieved_power > 0.99

    def test_an_interval_below_the_minimum_effect_without_power_refutes_nothing(self) -> None:
        found = compared(*mixed(gained=2, lost=7, same=21))
        assert 0 <= found.interval_high < 0.1
        assert found.achieved_power < 0.8
        assert found.outcome == "UNDERPOWERED"
        assert "power is too low to say so" in found.reasons[0]

    def test_harm_invalidates_with_any_power(self) -> None:
        found = compared(*mixed(gained=2, lost=20, same=18), minimum_effect=0.01)
        assert found.achieved_power < 0.1
        assert found.outcome == "INVALIDATED"
        assert "lies below 0" in found.reasons[0]

    def test_few_tasks_are_underpowered_with_the_needed_count(self) -> None:
        found = compared(*mixed(gained=3, lost=2, same=15))
        assert found.outcome == "UNDERPOWERED"
        assert found.needed_task_count is not None
        assert found.needed_task_count > found.task_count
        assert f"about {found.needed_task_count:,} tasks" in reasons_text(found)

    def test_partial_names_the_slices_where_it_holds(self) -> None:
        gain = {"one": [0] * 40, **{name: [0, 1] * 20 for name in ("two", "three", "four")}}
        found = compared(gain, gain | {"one": [1] * 40})
        assert found.outcome == "PARTIAL"
        assert [each.cluster for each in found.slices if each.finding == "validated"] == ["one"]
        assert "holds, after Holm's correction, for one (+1.000)" in reasons_text(found)

    def test_partial_names_the_harmed_slices(self) -> None:
        clusters = even([0, 0, 0, 0, 0, 1]) | {"harmed": [1] * 40}
        found = compared(clusters, even([0, 1, 1, 1, 1, 1]) | {"harmed": [0] * 40}, resampling_unit="task")
        assert found.interval_low > 0
        assert found.outcome == "PARTIAL"
        assert "does harm to harmed (-1.000)" in reasons_text(found)


class TestNumbers:
    def test_the_difference_and_its_error_by_hand(self) -> None:
        """Four tasks, differences 1, 1, 0, 0: mean 1/2, sd 1/√3, error sd/2, Student's with 3 degrees of
        freedom."""
        found = compared(*mixed(gained=2, lost=0, same=2))
        assert found.difference == 0.5
        assert found.standard_error == pytest.approx((1 / 3) ** 0.5 / 2)
        assert found.df == 3
        assert found.clustered_low == pytest.approx(0.5 - 3.182446 * found.standard_error, abs=1e-5)
        assert found.p_value == 0.5

    def test_the_deciding_interval_contains_both_others(self) -> None:
        found = compared(*mixed(gained=12, lost=4, same=40))
        assert found.bootstrap.bca_low is not None
        assert found.bootstrap.bca_high is not None
        assert found.interval_low == min(found.clustered_low, found.bootstrap.bca_low)
        assert found.interval_high == max(found.clustered_high, found.bootstrap.bca_high)

    def test_arms_and_counts(self) -> None:
        found = compared(even([0, 1]), even([1, 1]), seeds=(3, 1))
        assert [arm.mean for arm in found.arms] == [0.5, 1.0]
        assert [arm.score_count for arm in found.arms] == [80, 80]
        assert (found.seeds, found.task_count, found.cluster_count, found.pair_count) == ((1, 3), 40, 20, 80)

    def test_a_third_arm_is_reported_and_not_compared(self) -> None:
        frame = scores({"C": even([1]), "B": even([1]), "A": even([0, 1])})
        found = ab_verdict(frame.filter(~(pl.col("task_key").str.ends_with("-1"))), spec())
        assert [arm.arm for arm in found.arms] == ["A", "B", "C"]
        assert found.difference == 1.0

    def test_without_one_cluster(self) -> None:
        found = compared({"x": [0], "y": [0], "z": [0]}, {"x": [1], "y": [0], "z": [0]})
        assert [(each.cluster, each.difference) for each in found.leave_one_out] == [("x", 0.0), ("y", 0.5)]


class TestSlices:
    FOUND = compared(
        {name: [0, 0, 0, 1, 1, 1, 1, 1] for name in "xyz"},
        {"x": [1, 1, 1, 0, 1, 1, 1, 1], "y": [1, 0, 0, 0, 1, 1, 1, 1], "z": [0, 0, 0, 1, 1, 1, 1, 0]},
    )

    def test_p_values_are_holms(self) -> None:
        raw = [each.p_value for each in self.FOUND.slices]
        assert [each.adjusted_p_value for each in self.FOUND.slices] == holm(raw)
        assert raw != holm(raw)

    def test_intervals_are_at_alpha_over_their_number(self) -> None:
        """Slice x: differences 1, 1, 1, -1 and four of 0; Student's with 7 degrees of freedom at 1 -
        .05/3."""
        found = self.FOUND.slices[0]
        error = np.array([1, 1, 1, -1, 0, 0, 0, 0]).std(ddof=1) / 8**0.5
        assert found.difference - found.interval_low == pytest.approx(stats.t.ppf(1 - 0.05 / 6, 7) * error)

    def test_small_clusters_are_not_tested(self) -> None:
        assert compared(even([0, 1, 1, 1]), even([1, 1, 1, 1])).slices == ()


class TestSeeds:
    def test_one_seed_compares_checkpoints(self) -> None:
        found = compared(even([0, 1]), even([1, 1]))
        assert found.compares == "checkpoints"
        assert found.seed_p_value is None
        assert "compares two checkpoints, not two methods" in reasons_text(found)

    def test_several_seeds_compare_methods(self) -> None:
        found = compared(even([0, 1]), even([1, 1]), seeds=(0, 1, 2))
        assert found.compares == "methods"
        assert "not two methods" not in reasons_text(found)

    def test_seeds_that_disagree_widen_the_interval(self) -> None:
        """On one seed B gains every task, on the other none: two seeds are not enough."""
        parts = [
            scores({"A": even([0]), "B": even([gain])}, seeds=(seed,)) for seed, gain in enumerate([1, 0])
        ]
        found = ab_verdict(pl.concat(parts), spec())
        assert found.difference == 0.5
        assert found.outcome == "UNDERPOWERED"
        assert found.needed_task_count is None
        assert "no number of tasks on 2 seeds would be enough" in reasons_text(found)

    def test_seeds_of_one_arm_are_named(self) -> None:
        frame = pl.concat([scores({"A": even([0]), "B": even([1])}), scores({"A": even([0])}, seeds=(7,))])
        assert "Seeds of one arm only were left out: 7." in ab_verdict(frame, spec()).reasons


class TestUngraded:
    def test_ungraded_scores_can_remove_a_claim(self) -> None:
        a, b = mixed(gained=40, lost=10, same=100)
        open_gains = {name: [None] if name < "task020" else figures for name, figures in b.items()}
        found = compared(a, open_gains)
        assert found.worst_difference < found.difference < found.best_difference
        assert found.best_difference == pytest.approx(30 / 150)
        assert found.worst_difference == pytest.approx(10 / 150)
        assert found.interval_low <= found.clustered_low
        assert found.outcome == "UNDERPOWERED"
        assert "20 scores are ungraded or missing" in reasons_text(found)

    def test_the_worst_case_must_reach_the_minimum_effect_too(self) -> None:
        a, b = mixed(gained=60, lost=0, same=340)
        some = {name: [None] if name < "task030" else figures for name, figures in b.items()}
        found = compared(a, some, minimum_effect=0.08)
        assert found.interval_low > 0
        assert found.worst_difference < 0.08 <= found.difference
        assert found.outcome != "VALIDATED"

    def test_the_interval_contains_those_of_the_worst_and_the_best_case(self) -> None:
        a, b = mixed(gained=20, lost=20, same=20)
        open_tasks = ("task005", "task030", "task050")
        found = compared(a, b | {name: [None] for name in open_tasks})
        for filler in (0, 1):
            filled = compared(a, b | {name: [filler] for name in open_tasks})
            assert found.interval_low <= filled.clustered_low
            assert found.interval_high >= filled.clustered_high

    def test_tasks_that_one_arm_lacks_count_as_ungraded(self) -> None:
        a, b = mixed(gained=40, lost=10, same=100)
        found = compared(a, {name: figures for name, figures in b.items() if name != "task149"})
        assert found.arms[1].missing_count == 1
        assert found.worst_difference == pytest.approx((30 - 1) / 150)

    def test_without_graded_scores_there_is_no_verdict(self) -> None:
        with pytest.raises(BadInputError, match="nothing is graded"):
            compared(even([None]), even([1]))


class TestThinData:
    def test_ties_on_few_tasks_do_not_prove_absence(self) -> None:
        found = compared({f"t{i}": [0] for i in range(8)}, {f"t{i}": [0] for i in range(8)})
        assert found.outcome == "UNDERPOWERED"
        assert found.interval_high > 0.2
        assert "close to an end of the score's range" in reasons_text(found)

    def test_ties_on_many_tasks_prove_absence(self) -> None:
        ties = {f"t{i:03d}": [i % 2] for i in range(300)}
        assert compared(ties, ties).outcome == "INVALIDATED"

    def test_a_single_task_is_underpowered(self) -> None:
        found = compared({"x": [0]}, {"x": [1]})
        assert found.outcome == "UNDERPOWERED"
        assert (found.interval_low, found.interval_high) == (pytest.approx(-0.9), 1.0)

    def test_one_cluster_gives_a_verdict_about_itself(self) -> None:
        found = compared({"x": [0, 1] * 20}, {"x": [1, 1] * 20})
        assert found.resampling_unit == "task"
        assert "is about this cluster alone" in reasons_text(found)

    def test_few_clusters_are_named_as_a_doubt(self) -> None:
        found = compared(even([0, 1], ["x", "y", "z"]), even([1, 1], ["x", "y", "z"]))
        assert "only 3.0 effective clusters" in reasons_text(found)


class TestModel:
    FOUND = compared(*mixed(gained=40, lost=10, same=100))

    def test_a_verdict_survives_json(self) -> None:
        assert Verdict.model_validate_json(self.FOUND.model_dump_json()) == self.FOUND

    def test_a_verdict_cannot_be_changed(self) -> None:
        with pytest.raises(ValidationError):
            self.FOUND.outcome = "INVALIDATED"  # type: ignore[misc]


SCORE = st.sampled_from([0.0, 1.0, 0.5, None])
ATTEMPTS = st.dictionaries(
    st.tuples(st.sampled_from("AB"), st.integers(0, 2), st.integers(0, 5), st.integers(0, 1)),
    SCORE,
    min_size=1,
)


@given(ATTEMPTS, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing_and_nothing_crashes(
    attempts: dict[tuple[str, int, int, int], float | None], random: object
) -> None:
    rows = [
        (arm, seed, f"t{task}", f"c{task % 3}", sample, score)
        for (arm, seed, task, sample), score in attempts.items()
    ]
    frames = []
    for _ in range(2):
        frames.append(pl.DataFrame(rows, schema=scores({}).schema, orient="row"))
        random.shuffle(rows)  # type: ignore[attr-defined]
    rule = spec(resample_count=100, slice_task_count_min=2)
    try:
        one, other = (ab_verdict(frame, rule) for frame in frames)
    except BadInputError:
        return
    assert one == other
    assert one.interval_low <= one.difference <= one.interval_high
    assert one.worst_difference <= one.best_difference
    assert verdict_text(one)
    assert Verdict.model_validate_json(one.model_dump_json()) == one
