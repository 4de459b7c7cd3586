"""Goal: a conflict says where both sides come from and what differs, and one command decides it."""

from __future__ import annotations

import pytest

from tests.lake.curation.curated_lake import ROLLOUT, id_of, land, turn_of, version
from tests.lake.facts import landed_ids, reward
from tracelake.lake import Lake
from tracelake.lake.curation.conflicts import FIELDS_MAX, Conflict
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.errors import BadInputError
from tracelake.schemas.events.event import Event
from tracelake.schemas.events.rollout_events import RolloutStarted

FILES = ("/data/run1/a.json", "/data/run2/a.json")


@pytest.fixture
def lake(fresh_lake: Lake) -> Lake:
    """A rollout whose start and turn differ between two files."""
    for file, command, seed in zip(FILES, ("a", "b"), (1, 2), strict=True):
        [started, *rest] = version(command)
        config = canonical_text({"same": 0, "inner": {"seeds": [seed, 7]}})
        land(fresh_lake, [started.model_copy(update={"config_json": config}), *rest], file)
    return fresh_lake


def of_kind(conflicts: list[Conflict], kind: str) -> Conflict:
    return next(each for each in conflicts if each.kind == kind)


def test_a_conflict_names_files_key_and_the_places_that_differ(lake: Lake) -> None:
    conflicts = lake.conflicts()
    assert [each.kind for each in conflicts] == ["rollout_started", "turn_completed"]
    started = conflicts[0]
    assert started.key == {"rollout_id": ROLLOUT}
    assert tuple(event.source_uri for event in started.events) == FILES
    [differing] = started.differing
    assert (differing.field, differing.values) == ("config_json.inner.seeds[0]", ("1", "2"))
    assert (started.state, started.chosen_event_id, started.reason) == ("open", None, None)
    assert started.cure == f"tracelake conflicts resolve {ROLLOUT} --file FILE --reason TEXT"


def started_with(config: str) -> Event:
    return RolloutStarted(
        rollout_id="r", task_key="t", environment="e", substrate="s", config_json=canonical_text(config)
    )


def test_long_values_are_cut_to_where_they_differ_and_stay_on_one_line(fresh_lake: Lake) -> None:
    for end in ("left\x1b[31m", "right"):
        land(fresh_lake, [started_with("x" * 500 + end + "y" * 500)])
    [conflict] = fresh_lake.conflicts()
    first, other = conflict.differing[0].values
    assert first is not None
    assert other is not None
    assert first.startswith("…" + "x" * 15 + "left\\x1b[31m")
    assert other.startswith("…" + "x" * 15 + "right")
    assert max(len(first), len(other)) < 70


def test_nested_values_of_any_depth_and_size_are_compared_within_bounds(fresh_lake: Lake) -> None:
    for seed in (1, 2):
        deep: object = seed
        for _ in range(200):
            deep = [deep]
        many = {f"key{index}": seed for index in range(1000)}
        land(
            fresh_lake,
            [
                RolloutStarted(
                    rollout_id="r",
                    task_key="t",
                    environment="e",
                    substrate="s",
                    config_json=canonical_text(deep),
                    task_json=canonical_text(many),
                )
            ],
        )
    [conflict] = fresh_lake.conflicts()
    assert len(conflict.differing) == FIELDS_MAX


def test_all_conflicts_of_a_rollout_are_resolved_by_preferring_a_file(lake: Lake) -> None:
    decided = lake.resolve(ROLLOUT, file="run2/a.json", reason="the second run is whole")
    assert {each.state for each in decided} == {"resolved"}
    for each in decided:
        [chosen] = [event for event in each.events if event.event_id == each.chosen_event_id]
        assert chosen.source_uri == FILES[1]
    assert lake.selection().left_out == {}


@pytest.mark.parametrize(("use", "chosen"), [("first", "a"), ("other", "b"), ("neither", None)])
def test_one_conflict_is_resolved_by_naming_a_side(lake: Lake, use: str, chosen: str | None) -> None:
    turn = of_kind(lake.conflicts(), "turn_completed")
    [decided] = lake.resolve(turn.conflict_id, use=use, reason="looked at both")
    assert decided.chosen_event_id == (None if chosen is None else id_of(chosen))
    assert decided.state == ("neither" if chosen is None else "resolved")


def test_an_event_is_named_by_the_beginning_of_its_id(lake: Lake) -> None:
    turn = of_kind(lake.conflicts(), "turn_completed")
    [decided] = lake.resolve(turn.conflict_id, use=id_of("b")[:8], reason="looked")
    assert decided.chosen_event_id == id_of("b")


def test_a_decision_that_stands_is_not_written_again_and_another_one_replaces_it(lake: Lake) -> None:
    for _ in range(2):
        lake.resolve(ROLLOUT, use="first", reason="why not")
    assert len(landed_ids(lake.store, "conflict_resolved")) == 2
    lake.resolve(ROLLOUT, use="other", reason="better")
    [*_, turn] = lake.resolve(ROLLOUT, use="first", reason="why not")
    assert turn.chosen_event_id == id_of("a")
    assert len(landed_ids(lake.store, "conflict_resolved")) == 6


def test_a_third_payload_opens_the_conflict_and_other_is_no_longer_one_event(lake: Lake) -> None:
    lake.resolve(ROLLOUT, use="first", reason="before")
    land(lake, [turn_of("c")], "/data/run3/a.json")
    turn = of_kind(lake.conflicts(), "turn_completed")
    assert (turn.state, turn.reason, len(turn.events)) == ("open", "before", 3)
    with pytest.raises(BadInputError, match="other is not one event"):
        lake.resolve(turn.conflict_id, use="other", reason="x")
    [decided] = lake.resolve(turn.conflict_id, file=FILES[0], reason="x")
    assert decided.chosen_event_id == id_of("a")


@pytest.mark.parametrize(
    ("target", "arguments", "message"),
    [
        ("nobody", {"use": "first", "reason": "x"}, "no conflict and no rollout"),
        ("teacher-a/q2", {"use": "first", "reason": "x"}, "perhaps teacher-a/q1"),
        (ROLLOUT, {"use": "first", "reason": " "}, "needs a reason"),
        (ROLLOUT, {"reason": "x"}, "--use first"),
        (ROLLOUT, {"use": "first", "file": FILES[0], "reason": "x"}, "both --use and --file"),
        (ROLLOUT, {"use": "0123456789", "reason": "x"}, "has no such event"),
        (ROLLOUT, {"file": "run9/a.json", "reason": "x"}, "no event of conflict"),
        (ROLLOUT, {"file": "a.json", "reason": "x"}, "more than one event of conflict"),
    ],
)
def test_a_decision_that_is_not_clear_is_refused_with_a_cure(
    lake: Lake, target: str, arguments: dict[str, str], message: str
) -> None:
    with pytest.raises(BadInputError, match=message):
        lake.resolve(target, **arguments)
    assert landed_ids(lake.store, "conflict_resolved") == []


def test_a_scan_of_conflicts_finds_those_that_only_a_projection_of_the_kind_finds(fresh_lake: Lake) -> None:
    one, other = fresh_lake.writer("one"), fresh_lake.writer("other")
    one.append([reward(9)])
    other.append([reward(9)])
    one.append([reward(0, 1.0)])
    other.append([reward(0, 0.0)])
    one.close()
    other.close()
    assert fresh_lake.scan("conflict_found", fresh=True).collect().height == 1
