"""verifiers: rows of results.jsonl in all versions up to 0.1.x."""

from __future__ import annotations

import json
from typing import Any

from tests.producers.importers.samples import as_lines, of_kind, read_bytes, rollout, verifiers_row
from tracelake.producers.importers.importer import ImportedRollout, ImportOptions, Refusal
from tracelake.producers.importers.source import Source
from tracelake.schemas.events.event import event_identity

URI = "outputs/evals/wiki-search--gpt-5/73850758/results.jsonl"
METADATA = {
    "env_id": "wiki-search",
    "model": "gpt-5",
    "sampling_args": {"max_tokens": 9},
    "date": "2025-10-10",
}


class RunFolder:
    """A run folder with a `metadata.json`."""

    def __init__(self, metadata: dict[str, Any] = METADATA) -> None:
        self._data = json.dumps(metadata).encode()

    def read(self, source: Source, name: str) -> bytes | None:
        return self._data if name == "metadata.json" else None


def read_rows(
    rows: list[Any], folder: RunFolder | None = None, uri: str = URI, options: ImportOptions | None = None
) -> list[ImportedRollout | Refusal]:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    return read_bytes("\n".join(lines).encode() + b"\n", uri, options, folder or RunFolder())


def test_calls_as_json_text_and_results_without_ids_are_paired_by_order():
    piece = rollout(verifiers_row(), URI)
    (result,) = of_kind(piece, "tool_returned")
    assert (result.tool_name, result.tool_call_id) == ("search", "call-1")
    assert (result.visible_output, result.raw_output) == ("a hollow boat", None)
    action = json.loads(of_kind(piece, "turn_completed")[0].action_json)
    assert action["tool_calls"][0]["function"] == {"name": "search", "arguments": '{"query": "boat"}'}


def test_results_are_not_paired_when_one_is_missing():
    row = verifiers_row()
    row["completion"][0]["tool_calls"] *= 2
    assert of_kind(rollout(row, URI), "tool_returned")[0].tool_name is None


def test_metadata_names_environment_model_and_sampling():
    piece = read_rows([verifiers_row()])[0]
    started = of_kind(piece, "rollout_started")[0]
    assert (started.environment, started.model_requested) == ("wiki-search", "gpt-5")
    assert started.task_key.startswith("wiki-search:")
    assert json.loads(started.sampling_json) == {"max_tokens": 9}
    assert of_kind(piece, "turn_completed")[0].model_requested == "gpt-5"
    assert started.occurred_at is None


def test_metadata_of_before_september_2025_has_other_names():
    old = {"env": "wordle", "model": "gpt-4.1-mini", "max_tokens": 1024, "temperature": None}
    started = of_kind(read_rows([verifiers_row()], RunFolder(old))[0], "rollout_started")[0]
    assert started.environment == "wordle"
    assert json.loads(started.sampling_json) == {"max_tokens": 1024, "temperature": None}


def test_without_metadata_the_model_is_unknown_with_a_note():
    piece = rollout(verifiers_row(), URI)
    started = of_kind(piece, "rollout_started")[0]
    assert (started.environment, started.model_requested) == ("verifiers", None)
    assert any("no metadata.json" in note for note in piece.losses.notes)


def test_the_same_question_is_the_same_task_under_any_id_and_any_instructions():
    other = verifiers_row(id=99, prompt=[{"role": "user", "content": "What is an Utsuro-bune?"}])
    del other["example_id"]
    keys = [of_kind(piece, "rollout_started")[0].task_key for piece in read_rows([verifiers_row(), other])]
    assert keys[0] == keys[1]


def test_one_prompt_with_another_answer_is_another_task():
    rows = [verifiers_row(answer="story"), verifiers_row(answer="water")]
    keys = [of_kind(piece, "rollout_started")[0].task_key for piece in read_rows(rows)]
    assert keys[0] != keys[1]


def test_trials_of_an_example_are_a_group_of_different_rollouts():
    pieces = read_rows([verifiers_row(), verifiers_row(), verifiers_row(example_id=4)])
    starts = [of_kind(piece, "rollout_started")[0] for piece in pieces]
    assert starts[0].group_id == starts[1].group_id != starts[2].group_id
    assert len({piece.rollout_id for piece in pieces}) == 3


def test_each_metric_is_a_reward_of_its_own_name():
    piece = rollout(verifiers_row(metrics={"num_turns": 2}), URI)
    rewards = {event.name: event.score for event in of_kind(piece, "reward_assigned")}
    assert rewards == {"reward": 0.75, "judge_reward_func": 1.0, "total_tool_calls": 1.0, "num_turns": 2.0}
    assert (piece.reward, piece.reward_count) == (0.75, 4)


def test_tool_definitions_are_canonical_and_part_of_the_state():
    with_tools, without = rollout(verifiers_row(), URI), rollout(verifiers_row(info=None), URI)
    started = of_kind(with_tools, "rollout_started")[0]
    assert json.loads(started.tools_json)[0]["function"]["name"] == "search"
    assert started.tools_key is not None
    states = [of_kind(piece, "turn_completed")[0].state_key for piece in (with_tools, without)]
    assert states[0] != states[1]


def test_tool_definitions_of_later_versions_get_the_function_shape():
    row = verifiers_row(info=None, tool_defs=[{"name": "search", "parameters": {}}])
    started = of_kind(rollout(row, URI), "rollout_started")[0]
    assert json.loads(started.tools_json) == [
        {"type": "function", "function": {"name": "search", "parameters": {}}}
    ]


def test_a_text_completion_is_a_turn_but_no_assistant_message():
    piece = rollout(verifiers_row(prompt="Once upon", completion=" a time"), URI)
    (turn,) = of_kind(piece, "turn_completed")
    assert json.loads(turn.new_messages_json) == [{"role": "text", "content": "Once upon"}]
    assert json.loads(turn.action_json)["content"] == " a time"
    assert (piece.turn_count, piece.other_turn_count) == (0, 1)


def test_a_row_without_a_completion_is_a_rollout_without_turns():
    piece = rollout(verifiers_row(completion=[]), URI)
    ended = of_kind(piece, "rollout_ended")[0]
    assert ended.turn_count == 0
    assert len(json.loads(ended.metrics_json)["messages_after_last_turn"]) == 2


def test_a_message_after_the_last_turn_is_stored_with_the_end():
    row = verifiers_row()
    row["completion"].append({"role": "user", "content": "You have 0 guesses left."})
    ended = of_kind(rollout(row, URI), "rollout_ended")[0]
    unseen = json.loads(ended.metrics_json)["messages_after_last_turn"]
    assert unseen == [{"role": "user", "content": "You have 0 guesses left."}]


def test_the_stop_condition_of_later_versions_is_mapped():
    row = verifiers_row(stop_condition="max_turns_reached", is_truncated=True, error=None)
    ended = of_kind(rollout(row, URI), "rollout_ended")[0]
    assert (ended.stop_reason, ended.truncated, ended.exit_status) == ("max_turns", True, "max_turns_reached")
    assert of_kind(rollout(verifiers_row(), URI), "rollout_ended")[0].stop_reason == "unknown"


def test_a_zero_generation_time_is_no_time():
    assert of_kind(rollout(verifiers_row(), URI), "rollout_ended")[0].duration_ms == 12.5
    row = verifiers_row(generation_ms=0.0)
    assert of_kind(rollout(row, URI), "rollout_ended")[0].duration_ms is None


def test_a_saved_trajectory_gives_tokens_to_its_turns():
    tokens = {
        "prompt_ids": [1, 2],
        "completion_ids": [3, 4],
        "completion_mask": [1, 0],
        "completion_logprobs": [-0.125, -1.5],
    }
    row = verifiers_row(trajectory=[{"tokens": tokens, "is_truncated": False}, {"tokens": None}])
    first, second = of_kind(rollout(row, URI), "turn_completed")
    assert (first.new_prompt_ids, first.completion_ids) == ([1, 2], [3, 4])
    assert (first.completion_mask, first.sampling_logprobs) == ([True, False], [-0.125, -1.5])
    assert (second.completion_ids, second.sampling_logprobs) == (None, None)


def test_a_resumed_run_adds_rows_and_changes_none():
    rows = [verifiers_row(example_id=number, generation_ms=12.5 + number) for number in range(4)]
    first = read_rows(rows[:2], RunFolder(METADATA | {"num_examples": 2, "avg_reward": 0.5, "time_ms": 1.0}))
    resumed = read_rows(rows, RunFolder(METADATA | {"num_examples": 4, "avg_reward": 0.25, "time_ms": 2.0}))
    assert [piece.events for piece in first] == [piece.events for piece in resumed[:2]]
    assert len({piece.rollout_id for piece in resumed}) == 4
    assert any("avg_reward" in path for path, _ in first[0].losses.dropped)


def test_a_part_of_a_file_in_another_order_has_the_same_events():
    rows = [verifiers_row(example_id=number % 2, generation_ms=12.5 + number) for number in range(4)]
    pieces = [piece for piece in read_rows(rows) if isinstance(piece, ImportedRollout)]
    names = {event_identity(event) for piece in pieces for event in piece.events}
    for part in (rows[::-1], rows[1:3], rows[3:]):
        for piece in read_rows(part):
            assert isinstance(piece, ImportedRollout)
            assert {event_identity(event) for event in piece.events} <= names


def test_two_runs_with_one_layout_are_apart_and_a_copy_is_not():
    say = [{"role": "assistant", "content": "yes"}]
    one = read_rows([verifiers_row(completion=say)], uri="outputs/runA/rollouts/step_0/rollouts.jsonl")
    copied = read_rows([verifiers_row(completion=say)], uri="elsewhere/x.jsonl")
    other = read_rows([verifiers_row()], uri="outputs/runB/rollouts/step_0/rollouts.jsonl")
    assert one[0].rollout_id == copied[0].rollout_id != other[0].rollout_id


def test_a_user_decides_which_rows_are_distinct():
    row = [verifiers_row()]
    plain = read_rows(row)[0].rollout_id
    named = read_rows(row, options=ImportOptions(run="seed-2"))[0]
    paths = [
        read_rows(row, uri=uri, options=ImportOptions(distinct=True)) for uri in ("a/r.jsonl", "b/r.jsonl")
    ]
    assert len({plain, named.rollout_id, *(pieces[0].rollout_id for pieces in paths)}) == 4
    assert of_kind(named, "rollout_started")[0].source_run == "seed-2"


def test_a_row_whose_call_failed_is_a_rollout_without_turns():
    error = {"error": "ModelError", "error_chain_repr": "RateLimitError('429')"}
    row = verifiers_row(completion=None, error=error, stop_condition="has_error", metrics=None)
    (ended,) = of_kind(rollout(row, URI), "rollout_ended")
    assert (ended.stop_reason, ended.turn_count) == ("error", 0)
    assert "429" in ended.error


def test_the_times_of_later_versions_are_spans_in_seconds():
    row = verifiers_row(timing={"start_time": 1.7e9, "generation": {"start": 1.0, "end": 4.5}, "total": 4.0})
    for name in ("generation_ms", "scoring_ms", "total_ms"):
        del row[name]
    assert of_kind(rollout(row, URI), "rollout_ended")[0].duration_ms == 3500


def test_a_metric_that_is_no_number_refuses_its_row():
    (piece,) = read_rows([verifiers_row(metrics={"correct": True})])
    assert isinstance(piece, Refusal)
    assert "metrics.correct" in piece.reason


def test_an_answer_beyond_64_bits_keeps_its_digits():
    answers = (100000000000000000039, 100000000000000000129)
    pieces = [read_rows([verifiers_row(answer=answer)])[0] for answer in answers]
    starts = [of_kind(piece, "rollout_started")[0] for piece in pieces]
    assert [json.loads(start.task_json)["answer"] for start in starts] == list(answers)
    assert starts[0].task_key != starts[1].task_key


def test_blocks_of_anthropics_api_become_calls_and_results():
    completion = [
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "T", "signature": "s"},
                {"type": "tool_use", "id": "toolu_1", "name": "search", "input": {"query": "boat"}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "hollow"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "A boat."}]},
    ]
    piece = rollout(verifiers_row(completion=completion), URI)
    first, _ = of_kind(piece, "turn_completed")
    (result,) = of_kind(piece, "tool_returned")
    assert (first.tool_call_count, result.tool_name, result.visible_output) == (1, "search", "hollow")
    assert json.loads(first.action_json)["thinking_blocks"][0]["signature"] == "s"


def test_a_refusal_and_a_call_of_2023_stay_in_the_action():
    completion = [
        {"role": "assistant", "content": None, "refusal": "No."},
        {"role": "assistant", "content": None, "function_call": {"name": "search", "arguments": "{}"}},
    ]
    refused, called = of_kind(rollout(verifiers_row(completion=completion), URI), "turn_completed")
    assert json.loads(refused.action_json)["refusal"] == "No."
    assert (called.tool_call_count, json.loads(called.action_json)["tool_calls"][0]["id"]) == (1, None)


def test_a_hosted_export_has_its_columns_as_json_text():
    row = {
        "run_id": "rid", "step": 40, "problem_id": 4, "sample_id": 0, "reward": 1.75, "advantage": 0.25,
        "prompt": json.dumps([{"role": "user", "content": "q"}]),
        "completion": json.dumps([{"role": "assistant", "content": None, "reasoning_content": "r"}]),
        "metrics": json.dumps({"acc": 1.0}), "timing": json.dumps({"start_time": 1.0}), "info": "",
        "env_name": "o/e", "num_input_tokens": 0, "num_output_tokens": 0, "task": "default", "answer": "x",
    }  # fmt: skip
    (piece,) = read_bytes(as_lines([row]), "runs/rid/results.jsonl")
    (started,) = of_kind(piece, "rollout_started")
    assert (started.source_run, started.policy_version, started.environment) == ("rid", 40, "o/e")
    assert {event.name: event.score for event in of_kind(piece, "reward_assigned")} == {
        "reward": 1.75,
        "acc": 1.0,
    }
    (turn,) = of_kind(piece, "turn_completed")
    assert json.loads(turn.action_json)["reasoning_content"] == "r"
    again = read_bytes(as_lines([row | {"reward": 0.5}]), "copy/of/it.jsonl")
    assert again[0].rollout_id == piece.rollout_id


def test_a_broken_line_does_not_affect_its_neighbours():
    rows = [verifiers_row(), '{"prompt": [', "", json.dumps(verifiers_row(reward="high")), verifiers_row()]
    pieces = read_rows(rows)
    refusals = [piece for piece in pieces if isinstance(piece, Refusal)]
    assert [piece.line for piece in refusals] == [2, 4]
    assert "not JSON text" in refusals[0].reason
    assert "reward" in refusals[1].reason
    assert len(pieces) == 4
