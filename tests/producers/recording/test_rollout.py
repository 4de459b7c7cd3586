"""Goal: a rollout records what its agent says, in the right places, and refuses what does not fit.

Method: rollouts without a client, whose rows and folded contexts are compared with what was given.
"""

from __future__ import annotations

import gc
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.lake.facts import landed_ids
from tests.lake.store_wrappers import FullStore
from tests.producers.recording.recorded import contexts, extra, rows, turns, user
from tracelake import Lake, record
from tracelake.lake.stores.local_store import LocalStore
from tracelake.schemas.errors import EventInvalidError, LakeError, RecordingError, SourceFormatError


def rollout(lake: Lake, **given: Any) -> record.Rollout:
    return record.rollout(lake, task="sums", environment="tests", **given)


def says(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def calls(*call_ids: str) -> dict[str, Any]:
    listed = [
        {"id": each, "type": "function", "function": {"name": "add", "arguments": "{}"}} for each in call_ids
    ]
    return {"role": "assistant", "content": None, "tool_calls": listed}


def result(call_id: str, text: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": text}


def break_off(opened: record.Rollout) -> None:
    with opened:
        opened.turn([user("a")], says("b"))
        raise KeyError("mine")


def test_a_rollout_states_everything_about_its_start(fresh_lake: Lake) -> None:
    with rollout(
        fresh_lake,
        agent="mine",
        agent_version="2",
        run="night",
        rollout_id="r-1",
        group="g",
        trial=3,
        policy_version=7,
        task_data={"question": "1+1"},
        config={"turns": 5, "password": "hunter22"},
        extra={"host": "a"},
    ):
        pass
    [started] = rows(fresh_lake, "rollout_started")
    expected = {
        "rollout_id": "r-1",
        "task_key": "sums",
        "substrate": "mine",
        "substrate_version": "2",
        "source_run": "night",
        "run_id": "night",
        "group_id": "g",
        "trial_index": 3,
        "policy_version": 7,
        "task_json": '{"question":"1+1"}',
        "config_json": '{"turns":5}',
        "extra_json": '{"host":"a"}',
        "provenance": "live",
    }
    assert {name: started[name] for name in expected} == expected


def test_branches_and_compaction_find_the_longest_beginning(fresh_lake: Lake) -> None:
    system, first = {"role": "system", "content": "s"}, user("a")
    given = [
        [system, first],
        [system, first, says("1"), user("b")],
        [system, first, says("1"), user("another b")],
        [system, first, says("1"), user("b"), says("2"), user("c")],
        [system, user("summary of all")],
        [system, user("summary of all"), says("5"), user("d")],
        [system, first, says("1"), user("another b"), says("3"), user("e")],
    ]
    with rollout(fresh_lake) as opened:
        for number, context in enumerate(given, 1):
            assert opened.turn(context, says(str(number)), model="m") == number - 1
    assert [turn["parent_turn_index"] for turn in turns(fresh_lake)] == [None, 0, 0, 1, None, 4, 2]
    assert contexts(fresh_lake) == given


def test_a_message_that_changes_later_stays_as_it_was_sent(fresh_lake: Lake) -> None:
    message = user("before")
    with rollout(fresh_lake) as opened:
        opened.turn([message], says("1"))
        message["content"] = "after"
        opened.turn([message], says("2"))
    assert contexts(fresh_lake) == [[user("before")], [user("after")]]


def test_results_belong_to_their_calls(fresh_lake: Lake) -> None:
    with rollout(fresh_lake) as opened:
        opened.turn([user("a")], calls("x", "y", "z"))
        opened.tool("y", {"sum": 4}, return_code=0, duration_ms=2.5, extra={"host": "a"})
        opened.tool("x", "long output", visible_output="short", error=ValueError("too long"))
        opened.turn([user("a"), calls("x", "y", "z"), result("z", "unrecorded")], says("done"))
        opened.tool(None, "from text", name="bash")
    found = rows(fresh_lake, "tool_returned")
    assert [(row["turn_index"], row["call_index"], row["tool_call_id"]) for row in found] == [
        (0, 0, "y"),
        (0, 1, "x"),
        (0, 2, "z"),
        (1, 0, None),
    ]
    assert [row["tool_name"] for row in found] == ["add", "add", "add", "bash"]
    assert [row["raw_output"] for row in found] == ['{"sum":4}', "long output", None, "from text"]
    assert [row["visible_output"] for row in found] == ['{"sum":4}', "short", "unrecorded", "from text"]
    assert [row["visible_truncated"] for row in found] == [False, True, None, False]
    assert (found[0]["return_code"], found[0]["duration_ms"]) == (0, 2.5)
    assert found[1]["error"] == "ValueError: too long"
    assert extra(found[0]) == {"host": "a"}


def test_a_result_that_the_model_sees_otherwise_is_noted(fresh_lake: Lake) -> None:
    with rollout(fresh_lake) as opened:
        opened.turn([user("a")], calls("x"))
        opened.tool("x", "the whole output")
        opened.turn([user("a"), calls("x"), result("x", "the who…")], says("done"))
    assert extra(turns(fresh_lake)[1]) == {"results_shown_otherwise": ["x"]}


def test_output_that_is_no_text_is_escaped_and_marked(fresh_lake: Lake) -> None:
    with rollout(fresh_lake) as opened:
        opened.turn([user("a")], calls("x"))
        opened.tool("x", b"caf\xe9".decode("utf-8", "surrogateescape"))
    [row] = rows(fresh_lake, "tool_returned")
    assert row["raw_output"] == "caf\\udce9"
    assert extra(row) == {"output_has_escaped_bytes": True}


def test_rewards_may_score_a_turn_or_the_whole_and_may_be_null(fresh_lake: Lake) -> None:
    with rollout(fresh_lake) as opened:
        opened.turn([user("a")], says("b"))
        opened.reward(1.0, grader="tests")
        opened.reward(None, grader="judge", name="style", turn_index=0, details={"why": "unreadable"})
    found = rows(fresh_lake, "reward_assigned")
    assert [(row["name"], row["score"], row["turn_index"]) for row in found] == [
        ("reward", 1.0, None),
        ("style", None, 0),
    ]


def test_what_does_not_fit_is_refused(fresh_lake: Lake) -> None:
    with rollout(fresh_lake, rollout_id="r") as opened:
        with pytest.raises(RecordingError, match="before the first turn"):
            opened.tool(None, "output")
        opened.turn([user("a")], calls("x"))
        with pytest.raises(RecordingError, match="unknown tool call; got nope; expected one of x"):
            opened.tool("nope", "output")
        opened.tool("x", "output")
        with pytest.raises(RecordingError, match="second result"):
            opened.tool("x", "output")
        with pytest.raises(RecordingError, match="does not exist"):
            opened.reward(1.0, grader="tests", turn_index=1)
        with pytest.raises(SourceFormatError, match="without a role"):
            opened.turn([{"content": "a"}], says("b"))
        with pytest.raises(SourceFormatError, match="another role"):
            opened.turn([user("a")], user("b"))
        with pytest.raises(RecordingError, match="no response"):
            opened.turn([user("a")], "b")
        with pytest.raises(EventInvalidError, match="score"):
            opened.reward("good", grader="tests")  # type: ignore[arg-type]
        opened.end("max_turns", submission="42", metrics={"turns": 1})
        for late in (
            lambda: opened.reward(1.0, grader="tests"),
            lambda: opened.tool("x", "output"),
            lambda: opened.turn([user("a")], says("b")),
            lambda: opened.end(),
        ):
            with pytest.raises(RecordingError, match="rollout r, which has ended"):
                late()
    with pytest.raises(RecordingError, match="opened once"), opened:
        pass
    [ended] = rows(fresh_lake, "rollout_ended")
    assert (ended["stop_reason"], ended["truncated_by"], ended["submission"]) == (
        "max_turns",
        "max_turns",
        "42",
    )
    assert (ended["turn_count"], ended["metrics_json"]) == (1, '{"turns":1}')
    assert rows(fresh_lake, "reward_assigned") == []


def test_a_number_that_no_lake_stores_is_refused(fresh_lake: Lake) -> None:
    with rollout(fresh_lake) as opened:
        with pytest.raises(EventInvalidError, match="score: nan"):
            opened.reward(float("nan"), grader="tests")
        opened.turn([user("a")], says("b"))
        with pytest.raises(EventInvalidError, match="return_code"):
            opened.tool(None, "output", return_code=2**64)
    assert len(rows(fresh_lake, "rollout_ended")) == 1


def test_an_id_is_used_once_in_a_lake(fresh_lake: Lake) -> None:
    with (
        rollout(fresh_lake, rollout_id="r"),
        pytest.raises(RecordingError, match="recorded before; got r"),
        rollout(fresh_lake, rollout_id="r"),
    ):
        pass
    record.close(fresh_lake)
    again = Lake.open(fresh_lake.uri)
    with (
        pytest.raises(RecordingError, match="recorded before; got r"),
        rollout(again, rollout_id="r", run="b"),
    ):
        pass
    assert rows(fresh_lake, "conflict_found") == []
    assert len(rows(fresh_lake, "rollout_started")) == 1


def test_an_error_of_the_agent_ends_the_rollout_and_is_raised(fresh_lake: Lake) -> None:
    with pytest.raises(KeyError, match="mine"):
        break_off(rollout(fresh_lake))
    [ended] = rows(fresh_lake, "rollout_ended")
    assert (ended["stop_reason"], ended["exit_status"]) == ("error", "KeyError")
    assert (ended["turn_count"], ended["error"]) == (1, "KeyError: 'mine'")


def test_a_rollout_without_a_call_has_a_start_and_an_end(fresh_lake: Lake) -> None:
    with rollout(fresh_lake):
        pass
    assert [len(rows(fresh_lake, kind)) for kind in ("rollout_started", "rollout_ended")] == [1, 1]
    assert rows(fresh_lake, "rollout_ended")[0]["stop_reason"] == "completed"


def test_a_full_disk_is_raised_at_the_end_and_not_before(tmp_path: Path) -> None:
    Lake.create(str(tmp_path))
    lake = Lake(FullStore(LocalStore(tmp_path), takes=0))
    opened = rollout(lake, run="full")

    def play() -> None:
        with opened:
            opened.turn([user("a")], says("b"))

    with pytest.raises(LakeError):
        play()
    # The agent's own error matters more.
    with pytest.raises(KeyError) as raised:
        break_off(rollout(lake, run="full"))
    assert "tracelake:" in str(raised.value.__notes__)


def test_a_lake_in_memory_records_too() -> None:
    lake = Lake.create("memory://recording")
    with rollout(lake) as opened:
        opened.turn([user("a")], says("b"))
    record.close(lake)
    assert len(landed_ids(lake.store)) == 3


def test_a_lake_that_only_the_rollout_uses_stays_open(tmp_path: Path) -> None:
    uri = str(tmp_path / "lake")
    with rollout(Lake.open_or_create(uri)) as opened:
        gc.collect()
        opened.turn([user("a")], says("b"))
    # Then nobody uses it, and it closes in the background.
    del opened
    gc.collect()
    end = time.monotonic() + 20
    while not rows(Lake.open(uri), "rollout_ended") and time.monotonic() < end:
        time.sleep(0.1)
    assert len(turns(Lake.open(uri))) == 1


def test_a_forked_process_records_its_own_rollouts(fresh_lake: Lake) -> None:
    with rollout(fresh_lake) as opened:
        opened.turn([user("a")], says("b"))
        child = os.fork()
        if child == 0:
            code = 1
            try:
                opened.turn([user("a")], says("c"))
            except RecordingError:
                with rollout(Lake.open(fresh_lake.uri)) as own:
                    own.turn([user("a")], says("d"))
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
    assert [json.loads(turn["action_json"])["content"] for turn in turns(fresh_lake)] == ["b", "d"]


def test_idle_recording_lands_by_itself(fresh_lake: Lake) -> None:
    with rollout(fresh_lake) as opened:
        opened.turn([user("a")], says("b"))
        opened.flush()
        # Another opening of the lake sees it, as another program would.
        other, end = Lake.open(fresh_lake.uri), time.monotonic() + 20
        while not rows(other, "turn_completed") and time.monotonic() < end:
            time.sleep(0.2)
        assert len(turns(other)) == 1
        assert rows(other, "rollout_ended") == []
