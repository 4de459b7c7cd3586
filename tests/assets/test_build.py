"""From landed events to pairs: the tables that a build derives, the same ones each time."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from tests.traces import STUDENT, all_rollouts, lake_of_rollouts, rollout
from tracelake.assets.build import build
from tracelake.assets.derivations import DERIVED_TABLES, BuildParameters
from tracelake.assets.query import run_query
from tracelake.lake import Lake
from tracelake.lake.curation.selection import Selection
from tracelake.schemas.errors import QueryError
from tracelake.schemas.events.rollout_events import RolloutEnded, RolloutStarted
from tracelake.schemas.events.training_events import BatchConsumed

PARAMETERS = BuildParameters(student=STUDENT)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return lake_of_rollouts(str(tmp_path / "lake"))


def outcomes(lake: Lake, rule: str) -> dict[str, str]:
    rows = lake.scan("pair_outcomes").filter(pl.col("level") == "L1", pl.col("rule") == rule).collect()
    return dict(rows.select("task_key", "outcome").iter_rows())


def test_every_table_is_derived(lake: Lake) -> None:
    states = build(lake, PARAMETERS)
    assert list(states) == [table.name for table in DERIVED_TABLES]
    assert states["turns"].row_count == 13
    assert states["trajectories"].row_count == 13


def test_models_at_one_state_answer_each_other(lake: Lake) -> None:
    build(lake, PARAMETERS)
    answers = lake.scan("answers").collect()
    assert answers.filter(role="student").height == 4
    assert answers.filter(role="teacher").height == 9
    assert STUDENT not in answers.filter(role="teacher")["author"]


def test_pairs_come_from_majorities_and_every_other_turn_has_a_reason(lake: Lake) -> None:
    build(lake, PARAMETERS)
    assert outcomes(lake, "majority_over_student") == {
        "q1": "paired",
        "q2": "student_agrees",
        "q3": "no_majority",
        "q4": "no_teacher",
    }
    assert outcomes(lake, "student_over_minority") == {
        "q1": "student_disagrees",
        "q2": "paired",
        "q3": "no_majority",
        "q4": "no_teacher",
    }


def test_training_rows_carry_the_prompt_and_both_recorded_actions(lake: Lake) -> None:
    build(lake, PARAMETERS)
    row = (
        lake.scan("training_rows")
        .filter(pl.col("task_key") == "q1", pl.col("level") == "L1")
        .collect()
        .row(0, named=True)
    )
    assert row["prompt_json"] == '[{"content":"q1","role":"user"}]'
    assert "cat x" in row["chosen_json"]
    assert "ls" in row["rejected_json"]


def test_building_again_changes_nothing(lake: Lake) -> None:
    first, second = build(lake, PARAMETERS), build(lake, PARAMETERS)
    assert first == second


def test_lakes_with_equal_events_in_another_order_derive_equal_tables(tmp_path: Path) -> None:
    one = lake_of_rollouts(str(tmp_path / "one"))
    other = Lake.create(str(tmp_path / "other"))
    with other.writer("test") as writer:
        for event in reversed(list(all_rollouts())):
            writer.append([event])
    assert {name: state.digest for name, state in build(one, PARAMETERS).items()} == {
        name: state.digest for name, state in build(other, PARAMETERS).items()
    }


def test_a_conflicting_rollout_is_quarantined_whole(lake: Lake) -> None:
    changed = list(rollout("teacher-a", "q1", "something else"))
    with lake.writer("again") as writer:
        assert writer.append(changed).conflict_count == 1
    build(lake, PARAMETERS)
    assert "teacher-a/q1" not in lake.scan("turns").collect()["rollout_id"]
    assert outcomes(lake, "majority_over_student")["q1"] == "no_majority"


@pytest.mark.parametrize(("use", "action"), [("first", "cat x"), ("other", "something else")])
def test_a_resolved_conflict_gives_exactly_the_chosen_turn(lake: Lake, use: str, action: str) -> None:
    build(lake, PARAMETERS)
    with lake.writer("again") as writer:
        writer.append(rollout("teacher-a", "q1", "something else"))
    lake.resolve("teacher-a/q1", use=use, reason="looked at both")
    build(lake, PARAMETERS)
    turn = lake.scan("turns").filter(pl.col("rollout_id") == "teacher-a/q1").collect()
    assert (turn.height, action in turn["action_json"][0]) == (1, True)
    # Answers harvested before the decision count only if their turn does.
    answer = lake.scan("answers").filter(author="teacher-a", state_key=turn["state_key"][0]).collect()
    assert (answer.height, action in answer["action_json"][0]) == (1, True)


def test_a_conflict_resolved_by_neither_leaves_the_rollout_out(lake: Lake) -> None:
    with lake.writer("again") as writer:
        writer.append(rollout("teacher-a", "q1", "something else"))
    lake.resolve("teacher-a/q1", use="neither", reason="both broken")
    selections: list[Selection] = []
    build(lake, PARAMETERS, on_selection=selections.append)
    assert selections[0].counts() == {"conflict": 0, "decision": 1, "retracted": 0}
    assert "teacher-a/q1" not in lake.scan("turns").collect()["rollout_id"]


def test_a_retracted_rollout_is_in_no_table_and_teaches_nobody(lake: Lake) -> None:
    before = build(lake, PARAMETERS)
    assert outcomes(lake, "majority_over_student")["q1"] == "paired"
    lake.retract("teacher-a/q1", reason="wrong sandbox")
    build(lake, PARAMETERS)
    for table in ("turns", "trajectories", "answers", "disagreement_by_trace", "pair_outcomes"):
        assert "teacher-a/q1" not in lake.scan(table).collect()["rollout_id"]
    assert lake.scan("answers").filter(author="teacher-a").collect().height == 2
    assert outcomes(lake, "majority_over_student")["q1"] == "no_majority"
    assert lake.scan("spend").filter(model="teacher-a").collect()["call_count"].item() == 2
    lake.retract("teacher-a/q1", reason="it was right", undo=True)
    after = build(lake, PARAMETERS)
    assert {name: state.digest for name, state in after.items()} == {
        name: state.digest for name, state in before.items()
    }


def test_a_longer_recording_supersedes_the_shorter_and_both_stay(lake: Lake) -> None:
    for length, reason in ((2, "unfinished"), (4, "completed"), (3, "unfinished")):
        end = RolloutEnded(
            rollout_id="grown", recording_length=length, stop_reason=reason, turn_count=length // 2
        )
        with lake.writer(f"import-{length}") as writer:
            started = RolloutStarted(rollout_id="grown", task_key="t", environment="e", substrate="s")
            assert writer.append([started, end]).conflict_count == 0
    build(lake, PARAMETERS)
    [row] = lake.scan("trajectories").filter(pl.col("rollout_id") == "grown").collect().to_dicts()
    assert row["stop_reason"] == "completed"
    assert lake.scan("rollout_ended").filter(pl.col("rollout_id") == "grown").collect().height == 3


def test_a_policy_in_training_is_no_teacher(lake: Lake) -> None:
    live = [
        event.model_copy(update={"policy_version_start": 3}) if event.KIND == "turn_completed" else event
        for event in rollout("checkpoint", "q1", "cat x")
    ]
    with lake.writer("training") as writer:
        writer.append(live)
    build(lake, PARAMETERS)
    assert "checkpoint" not in lake.scan("answers").collect()["author"]


def test_a_late_regrade_changes_tables_and_not_pins(lake: Lake) -> None:
    build(lake, PARAMETERS)
    pin = lake.pin("before", ["trajectories"])
    regrade = [event for event in rollout(STUDENT, "q1", "ls", score=0.0) if event.KIND == "reward_assigned"]
    with lake.writer("regrade") as writer:
        receipt = writer.append([event.model_copy(update={"grader_version": "2"}) for event in regrade])
    assert receipt.new_count == 1
    build(lake, PARAMETERS)
    is_regraded = pl.col("rollout_id") == f"{STUDENT}/q1"
    assert lake.scan("trajectories").filter(is_regraded).collect()["reward"].item() == 0.0
    assert lake.scan("trajectories", at=pin.reference).filter(is_regraded).collect()["reward"].item() == 1.0


def test_exposures_list_the_pairs_of_each_update(lake: Lake) -> None:
    batch = BatchConsumed(
        training_id="t",
        train_step=1,
        policy_version=0,
        rollout_ids_json='["r1"]',
        pair_ids_json='["p1","p1","p2"]',
        sdpo_weight=0.0,
        pair_weight=0.5,
    )
    with lake.writer("training") as writer:
        writer.append([batch])
    build(lake, PARAMETERS)
    seen = run_query(lake, "SELECT item_id, weight FROM exposures WHERE item_kind = 'pair' ORDER BY item_id")
    assert seen.rows() == [("p1", 1.0), ("p2", 0.5)]


def test_money_is_summed_once(lake: Lake) -> None:
    with lake.writer("again") as writer:
        writer.append(all_rollouts())
    build(lake, PARAMETERS)
    assert lake.scan("spend").collect()["cost_usd"].sum() == 13 * 0.25


def test_a_query_of_an_unknown_table_is_refused_with_the_known_tables(lake: Lake) -> None:
    with pytest.raises(QueryError, match="turn_completed"):
        run_query(lake, "SELECT * FROM nowhere")
