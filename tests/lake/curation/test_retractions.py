"""Goal: a rollout or a run is taken out of builds, by name and with a reason, and can be taken back."""

from __future__ import annotations

import logging

import pytest

from tests.lake.curation.curated_lake import ROLLOUT, land, version
from tests.lake.facts import landed_ids
from tests.traces import rollout
from tracelake.lake import Lake
from tracelake.lake.curation.retractions import NamedAs
from tracelake.schemas.errors import BadInputError


@pytest.fixture
def lake(fresh_lake: Lake) -> Lake:
    """Two rollouts of run seed1 and one of seed2, in two imports."""
    for name, model in (("seed1", "m1"), ("seed1", "m2"), ("seed2", "m3")):
        [started, *rest] = rollout(model, "q1", "ls")
        with fresh_lake.writer(f"import-{name}") as writer:
            writer.append([started.model_copy(update={"source_run": name}), *rest])
    return fresh_lake


def gone(lake: Lake) -> list[str]:
    return sorted(lake.selection().retracted)


def test_a_rollout_is_retracted_and_taken_back(lake: Lake) -> None:
    assert lake.retract("m1/q1", reason="wrong sandbox").rollout_ids == ("m1/q1",)
    assert gone(lake) == ["m1/q1"]
    lake.retract("m1/q1", reason="it was right", undo=True)
    assert gone(lake) == []
    lake.retract("m1/q1", reason="wrong sandbox")
    assert gone(lake) == ["m1/q1"]


def test_a_run_is_retracted_as_a_whole_and_single_rollouts_are_taken_back(lake: Lake) -> None:
    done = lake.retract("seed1", reason="wrong sandbox")
    assert (done.named_as, done.rollout_ids, len(done.events)) == ("source_run", ("m1/q1", "m2/q1"), 1)
    lake.retract("m2/q1", reason="this one was right", undo=True)
    assert gone(lake) == ["m1/q1"]
    lake.retract("seed1", reason="wrong sandbox")
    assert gone(lake) == ["m1/q1", "m2/q1"]


def test_the_run_of_an_import_names_its_rollouts(lake: Lake) -> None:
    done = lake.retract("import-seed1", reason="wrong folder")
    assert (done.named_as, len(done.events)) == ("import_run", 2)
    assert gone(lake) == ["m1/q1", "m2/q1"]


def test_the_same_retraction_again_writes_nothing(lake: Lake) -> None:
    for _ in range(2):
        done = lake.retract("seed1", reason="wrong sandbox")
    assert done.events == ()
    assert len(landed_ids(lake.store, "retraction_decided")) == 1


def test_unknown_names_are_refused_with_near_ones(lake: Lake) -> None:
    with pytest.raises(BadInputError, match="perhaps seed"):
        lake.retract("seed", reason="x")
    with pytest.raises(BadInputError, match="perhaps m1/q1"):
        lake.retract("m1/q2", reason="x")


def test_a_name_of_two_things_needs_its_meaning(lake: Lake) -> None:
    [started, *rest] = version("a")
    land(lake, [started.model_copy(update={"source_run": "m1/q1"}), *rest])
    with pytest.raises(BadInputError, match="Choose one with --as"):
        lake.retract("m1/q1", reason="x")
    named_as: NamedAs = "source_run"
    assert lake.retract("m1/q1", reason="x", named_as=named_as).rollout_ids == (ROLLOUT,)


def test_only_what_is_retracted_can_be_taken_back_and_reasons_are_needed(lake: Lake) -> None:
    with pytest.raises(BadInputError, match="is not retracted"):
        lake.retract("seed2", reason="x", undo=True)
    with pytest.raises(BadInputError, match="needs a reason"):
        lake.retract("seed2", reason="")


def test_a_pin_of_events_leaves_retracted_rollouts_out_and_an_older_one_warns(
    lake: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    lake.project()
    before = lake.pin("p", ["turn_completed"])
    lake.retract("seed1", reason="wrong sandbox")
    assert lake.retracted_in(before) == ("m1/q1", "m2/q1")
    with caplog.at_level(logging.WARNING, logger="tracelake"):
        assert lake.open_pin("p@1").scan("turn_completed").collect().height == 3
    assert "retracted since: 2" in caplog.text
    after = lake.pin("p", ["turn_completed"])
    assert after.reference == "p@2"
    assert lake.retracted_in(after) == ()
    assert lake.scan("turn_completed", at="p@2").collect()["rollout_id"].to_list() == ["m3/q1"]
