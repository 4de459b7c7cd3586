"""Goal: rendered messages can be parsed back, and a longer context never changes the ids of a shorter one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from tracelake.consumers.tiny_policy.tokenizer import (
    END,
    SPECIAL_TOKENS,
    assistant_mask,
    completion_message,
    context_ids,
    fit_tokenizer,
    piece_id,
    render,
    text_ids,
)
from tracelake.schemas.message import Message

ASCII = st.text(st.characters(min_codepoint=0, max_codepoint=127), max_size=60)
PLAIN = ASCII.filter(lambda text: "<|" not in text)
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("edit_line", "run_tests")
]
TEXTS = ["1\tdef add(a, b):\n2\t    return a + b", 'edit_line{"line":2,"text":"    return a + b"}'] * 3
TOKENIZER = fit_tokenizer(TEXTS)


def call_message(name: str, arguments: str, content: str | None = None) -> Message:
    call = {"id": "call_0_0", "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": content, "tool_calls": [call]}


def decoded(ids: list[int]) -> str:
    return str(TOKENIZER.decode(ids, skip_special_tokens=False))


@given(text=ASCII)
def test_any_ascii_text_survives_a_round_trip(text: str) -> None:
    assert decoded(text_ids(TOKENIZER, text)) == text


@given(words=st.lists(st.sampled_from([*TEXTS, " ", "\n", '"}', "return", *SPECIAL_TOKENS]), max_size=8))
def test_known_words_survive_a_round_trip_in_any_order(words: list[str]) -> None:
    text = "".join(words)
    assert decoded(text_ids(TOKENIZER, text)) == text


def test_a_foreign_character_is_unknown_and_not_an_error() -> None:
    assert TOKENIZER.unk_token_id in text_ids(TOKENIZER, "naïve")


def test_the_fit_is_deterministic_and_counts() -> None:
    assert fit_tokenizer(TEXTS).get_vocab() == TOKENIZER.get_vocab()
    assert " return" not in TOKENIZER.get_vocab()
    assert "return" in TOKENIZER.get_vocab()
    assert "return" not in fit_tokenizer(TEXTS[:2]).get_vocab()


def test_known_words_are_one_piece() -> None:
    pieces = TOKENIZER.convert_ids_to_tokens(text_ids(TOKENIZER, TEXTS[1]))
    assert pieces == [
        *("edit_line", '{"line":', "2", ',"text":"', "    ", "return", " a", " +", " b", '"}'),
    ]


def test_a_context_renders_compactly() -> None:
    context: list[Message] = [
        {"role": "user", "content": "Fix."},
        call_message("edit_line", '{"line":2}'),
        {"role": "tool", "tool_call_id": "call_0_0", "content": "ok"},
    ]
    assert render(TOKENIZER, context, TOOLS, answer_next=True) == (
        "<|tools|> edit_line run_tests<|end|><|user|>Fix.<|end|>"
        '<|assistant|><|call|>edit_line{"line":2}<|end|><|tool|>ok<|end|><|assistant|>'
    )


def test_arguments_given_as_an_object_render_as_their_compact_text() -> None:
    as_object = call_message("edit_line", "")
    as_object["tool_calls"][0]["function"]["arguments"] = {"line": 2, "text": "a < b"}
    as_text = call_message("edit_line", json.dumps({"line": 2, "text": "a < b"}, separators=(",", ":")))
    assert render(TOKENIZER, [as_object], TOOLS, answer_next=False) == render(
        TOKENIZER, [as_text], TOOLS, answer_next=False
    )


@given(issue=PLAIN, arguments=PLAIN, content=PLAIN, output=PLAIN)
def test_rendering_is_prefix_preserving(issue: str, arguments: str, content: str, output: str) -> None:
    first: list[Message] = [{"role": "user", "content": issue}]
    action = call_message("run_tests", arguments, content or None)
    second = [*first, action, {"role": "tool", "tool_call_id": "call_0_0", "content": output}]
    before = context_ids(TOKENIZER, first, TOOLS)
    after_action = text_ids(TOKENIZER, render(TOKENIZER, [*first, action], TOOLS, answer_next=False))
    after = context_ids(TOKENIZER, second, TOOLS)
    assert after_action[: len(before)] == before
    assert after[: len(after_action)] == after_action
    assert context_ids(TOKENIZER, second, TOOLS, after_action) == after


def test_sampled_ids_stay_although_the_tokenizer_would_choose_others() -> None:
    spelled = [piece_id(TOKENIZER, character) for character in "return"]
    message = completion_message(TOKENIZER, spelled, call_id_prefix="call_0")
    prefix = [1, 2, 3, *spelled, piece_id(TOKENIZER, END)]
    context: list[Message] = [{"role": "user", "content": "x"}, message, {"role": "tool", "content": "ok"}]
    assert context_ids(TOKENIZER, context, TOOLS, prefix)[: len(prefix)] == prefix


@given(name=st.sampled_from(["run_tests", "edit_line", "x9"]), arguments=PLAIN, content=PLAIN)
def test_an_action_is_read_back_from_its_ids(name: str, arguments: str, content: str) -> None:
    arguments = "{" + arguments
    message = call_message(name, arguments, content or None)
    ids = text_ids(TOKENIZER, render(TOKENIZER, [message], (), answer_next=False))
    assert completion_message(TOKENIZER, ids[1:], call_id_prefix="call_0") == message


def test_several_calls_keep_their_order() -> None:
    message = completion_message(
        TOKENIZER,
        text_ids(TOKENIZER, "both<|call|>edit_line{}<|call|>run_tests{}<|end|>"),
        call_id_prefix="c",
    )
    assert message["content"] == "both"
    assert [(call["id"], call["function"]["name"]) for call in message["tool_calls"]] == [
        ("c_0", "edit_line"),
        ("c_1", "run_tests"),
    ]


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [("<|call|>", "", ""), ("<|call|>{}", "", "{}"), ('<|call|>edit_line{"l', "edit_line", '{"l')],
)
def test_a_malformed_call_is_still_a_call(text: str, name: str, arguments: str) -> None:
    message = completion_message(TOKENIZER, text_ids(TOKENIZER, text), call_id_prefix="c")
    assert message["tool_calls"][0]["function"] == {"name": name, "arguments": arguments}


@given(ids=st.lists(st.integers(0, len(TOKENIZER) - 1), max_size=30))
def test_any_ids_give_a_message(ids: list[int]) -> None:
    message = completion_message(TOKENIZER, ids, call_id_prefix="c")
    assert message["role"] == "assistant"
    json.dumps(message)


def test_the_mask_covers_the_assistants_tokens_and_end_ids() -> None:
    text = "<|user|>a<|end|><|assistant|>b<|call|>c{}<|end|><|tool|>d<|end|><|assistant|>e<|end|>"
    ids = text_ids(TOKENIZER, text)
    written = [token for token, mine in zip(ids, assistant_mask(TOKENIZER, ids), strict=True) if mine]
    assert decoded(written) == "b<|call|>c{}<|end|>e<|end|>"


def test_a_saved_tokenizer_is_the_same(tmp_path: Any) -> None:
    TOKENIZER.save_pretrained(tmp_path)
    loaded = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    assert loaded.get_vocab() == TOKENIZER.get_vocab()
    context: list[Message] = [{"role": "user", "content": "x"}]
    assert context_ids(loaded, context, TOOLS) == context_ids(TOKENIZER, context, TOOLS)
