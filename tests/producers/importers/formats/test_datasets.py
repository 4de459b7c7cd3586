"""TRL's completions and datasets of chats: what a row becomes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.producers.importers.samples import as_lines, of_kind, read_bytes
from tests.producers.importers.samples_datasets import as_parquet, chat_rows, sharegpt_rows, trl_rows
from tracelake.producers.importers.formats import chat_messages
from tracelake.producers.importers.importer import ImportedRollout, ImportOptions, Refusal
from tracelake.producers.importers.recognise import importer_for
from tracelake.producers.importers.source import source_of_bytes


def rollouts(data: bytes) -> list[ImportedRollout]:
    pieces = read_bytes(data, "out/completions_00007.parquet")
    assert all(isinstance(piece, ImportedRollout) for piece in pieces), pieces
    return [piece for piece in pieces if isinstance(piece, ImportedRollout)]


def test_completions_of_one_prompt_and_update_are_a_group():
    starts = [of_kind(piece, "rollout_started")[0] for piece in rollouts(as_parquet(trl_rows()))]
    assert len({start.rollout_id for start in starts}) == 2
    assert starts[0].group_id == starts[1].group_id
    assert starts[0].policy_version == 7


def test_each_reward_function_is_a_score_and_their_sum_counts():
    first = rollouts(as_parquet(trl_rows()))[0]
    scores = {event.name: event.score for event in of_kind(first, "reward_assigned")}
    assert scores == {"correct": 1.0, "short": 0.5, "reward": 1.5}
    assert json.loads(of_kind(first, "rollout_ended")[0].metrics_json) == {"advantage": 0.25}


def test_keys_that_parquet_adds_are_no_part_of_a_message():
    first = rollouts(as_parquet(trl_rows()))[0]
    action = json.loads(of_kind(first, "turn_completed")[0].action_json)
    assert set(action) == {"role", "content", "tool_calls"}
    assert json.loads(action["tool_calls"][0]["function"]["arguments"]) == {"a": 2, "b": 2}
    (result,) = of_kind(first, "tool_returned")
    assert (result.tool_name, result.visible_output) == ("add", "4")


def test_a_text_completion_is_a_turn():
    rows = [row | {"prompt": "2+2=", "completion": "4"} for row in trl_rows()[:1]]
    (piece,) = rollouts(as_parquet(rows))
    assert (piece.turn_count, piece.other_turn_count) == (0, 1)


@pytest.mark.parametrize("encode", [as_lines, as_parquet])
def test_a_row_of_a_chat_dataset_has_its_facts(encode: Any):
    (piece,) = rollouts(encode(chat_rows()))
    (start,) = of_kind(piece, "rollout_started")
    assert (start.task_key, start.model_requested) == ("django__django-1", "qwen3")
    assert (piece.turn_count, piece.tool_result_count, piece.reward) == (2, 1, 1.0)
    (ended,) = of_kind(piece, "rollout_ended")
    assert (ended.submission, ended.exit_status, ended.stop_reason) == ("diff", "submit", "unknown")
    assert of_kind(piece, "tool_returned")[0].tool_name == "bash"


def test_both_containers_give_the_same_rollout():
    ids = {rollouts(encode(chat_rows()))[0].rollout_id for encode in (as_lines, as_parquet)}
    assert len(ids) == 1


def test_from_and_value_are_a_message():
    (piece,) = rollouts(as_lines(sharegpt_rows()))
    (turn,) = of_kind(piece, "turn_completed")
    assert json.loads(turn.new_messages_json) == [{"role": "user", "content": "Hi."}]
    assert json.loads(turn.action_json) == {"role": "assistant", "content": "Hello."}


def test_a_user_names_the_columns():
    row = {"uid": 5, "log": chat_rows()[0]["messages"], "stars": 0.5}
    options = ImportOptions(columns=(("messages", "log"), ("id", "uid"), ("reward", "stars")))
    source = source_of_bytes("data.jsonl", as_lines([row, row | {"uid": 6}]))
    pieces = list(importer_for(source, "chat-messages").read(source, options))
    assert [type(piece) for piece in pieces] == [ImportedRollout, ImportedRollout]
    assert isinstance(pieces[0], ImportedRollout)
    assert pieces[0].reward == 0.5


@pytest.mark.parametrize("columns", [(("messages", "absent"),), (("speech", "log"),), ()])
def test_a_column_map_that_does_not_fit_is_refused(columns: tuple[tuple[str, str], ...]):
    source = source_of_bytes("data.jsonl", as_lines([{"log": []}, {"log": []}]))
    (piece,) = chat_messages.IMPORTER.read(source, ImportOptions(columns=columns))
    assert isinstance(piece, Refusal)
    assert "--columns" in piece.reason


def test_pairs_of_prompt_and_completion_are_no_chat():
    source = source_of_bytes("rm.jsonl", as_lines([{"prompt": "q", "completion": "a", "reward": 0.3}] * 2))
    assert not chat_messages.IMPORTER.claims(source)
