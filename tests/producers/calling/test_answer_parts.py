"""An answer is the same however it came, and nothing in one breaks the reader of it."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelake.producers.calling.answer_parts import AnswerParts
from tracelake.producers.calling.answer_reader import AnswerReader, BodyTooLargeError
from tracelake.producers.calling.answer_shape import ToolCallError, decoded
from tracelake.producers.calling.validate_answer import Flaw, validate_answer
from tracelake.schemas.canonical import canonical_text

WORDS = st.text(st.characters(codec="utf-8"), max_size=12)
ARGUMENTS = st.dictionaries(WORDS, st.integers(0, 9) | WORDS, max_size=3).map(json.dumps)
CALLS = st.lists(st.tuples(st.text("abc", min_size=1, max_size=5), ARGUMENTS), max_size=3)
HOSTILE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "gen-1", "model": "m", "choices": [choice], "usage": None}


def events(pieces: list[str], calls: list[tuple[str, str]]) -> list[dict[str, Any]]:
    chunks = [chunk({"role": "assistant", "content": ""}), *(chunk({"content": piece}) for piece in pieces)]
    for index, (name, arguments) in enumerate(calls):
        opening = {"index": index, "id": f"c{index}", "function": {"name": name, "arguments": ""}}
        chunks.append(chunk({"tool_calls": [opening]}))
        for letter in arguments:
            chunks.append(chunk({"tool_calls": [{"index": index, "function": {"arguments": letter}}]}))
    return [*chunks, chunk({}, "stop"), {"id": "gen-1", "model": "m", "choices": [], "usage": {"cost": 0.5}}]


def read(text: bytes, cuts: list[int], *, is_event_stream: bool = True) -> AnswerReader:
    reader = AnswerReader(2**24)
    edges = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    for start, end in pairwise(edges):
        reader.feed(text[start:end], is_event_stream=is_event_stream)
    reader.end()
    return reader


@given(
    st.lists(WORDS, max_size=6),
    CALLS,
    st.lists(st.integers(0, 10_000), max_size=12),
    st.sampled_from(["\n\n", "\r\n\r\n", "\n: ping\n\n"]),
    st.booleans(),
)
def test_a_stream_gives_the_same_message_as_a_whole_answer(
    pieces: list[str], calls: list[tuple[str, str]], cuts: list[int], end: str, is_named: bool
) -> None:
    """Cut at any bytes, with any ends of lines, whether or not the headers call it a stream."""
    chunks = events(pieces, calls)
    text = (
        "".join(f"data: {json.dumps(event, ensure_ascii=False)}{end}" for event in chunks)
        + f"data: [DONE]{end}"
    )
    streamed = validate_answer(read(text.encode(), cuts, is_event_stream=is_named), "m")
    merged = [
        {"id": f"c{index}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for index, (name, arguments) in enumerate(calls)
    ]
    message = {
        "role": "assistant",
        "content": "".join(pieces) or None,
        **({"tool_calls": merged} if merged else {}),
    }
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    whole = {"id": "gen-1", "model": "m", "choices": [choice], "usage": {"cost": 0.5}}
    assert streamed == validate_answer(read(json.dumps(whole).encode(), cuts, is_event_stream=False), "m")
    assert isinstance(streamed, Flaw) or streamed == message


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5), st.booleans())
def test_any_bytes_are_read_or_refused(text: bytes, cuts: list[int], is_event_stream: bool) -> None:
    try:
        validate_answer(read(text, cuts, is_event_stream=is_event_stream), "m")
    except ValueError:
        return


@given(st.dictionaries(st.sampled_from(["id", "model", "choices", "usage", "error", "provider"]), HOSTILE))
def test_any_values_in_place_of_an_answer_are_read_or_refused(fields: dict[str, Any]) -> None:
    assert_read_or_refused(fields)


@given(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(["content", "refusal", "tool_calls", "reasoning"], HOSTILE)
    ),
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(["finish_reason", "logprobs", "token_ids", "error"], HOSTILE)
    ),
    st.lists(
        st.fixed_dictionaries({}, optional=dict.fromkeys(["index", "id", "function", "type"], HOSTILE)),
        max_size=3,
    ),
    st.lists(
        st.fixed_dictionaries({}, optional={"index": HOSTILE, "text": HOSTILE, "type": HOSTILE}), max_size=3
    ),
)
def test_any_values_in_place_of_a_message_are_read_or_refused(
    message: dict[str, Any], choice: dict[str, Any], calls: list[Any], details: list[Any]
) -> None:
    for more in ({}, {"tool_calls": calls}, {"reasoning_details": details}):
        assert_read_or_refused({"choices": [{**choice, "message": {**message, **more}}]})


def assert_read_or_refused(fields: dict[str, Any]) -> None:
    reader = AnswerReader(2**20)
    try:
        reader.parts.add(fields)
        message = validate_answer(reader, "m")
        reader.parts.tokens()
    except ValueError:
        reader.parts.text_so_far()
        return
    if not isinstance(message, Flaw):
        assert canonical_text(message)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"usage":{"cost":NaN}}', {"usage": {"cost": "NaN"}}),
        (b'{"usage":{"cost":-Infinity}}', {"usage": {"cost": "-Infinity"}}),
        (b'{"usage":{"cost":1e309}}', {"usage": {"cost": "1e309"}}),
        (b'{"usage":{"cost":1,"cost":0}}', {"usage": {"cost": [1, 0]}}),
        (b'{"usage":{"cost":1},"usage":{"cost":0}}', {"usage": [{"cost": 1}, {"cost": 0}]}),
        (b'{"a":NaN}', {"a": "NaN"}),
        (b'{"usage":null,"a":1}', {"usage": None, "a": 1}),
    ],
)
def test_values_on_which_parsers_differ_stay_visible(text: bytes, value: Any) -> None:
    assert decoded(text) == value


@pytest.mark.parametrize(
    "text", [b"", b"{", b'{"usage":', b"\xff", b"[" * 10**5, b'{"usage":' + b"[" * 10**5]
)
def test_text_that_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        decoded(text)


def test_more_bytes_than_allowed_are_refused() -> None:
    reader = AnswerReader(10)
    reader.feed(b"x" * 10, is_event_stream=False)
    with pytest.raises(BodyTooLargeError):
        reader.feed(b"x", is_event_stream=False)


def test_a_last_line_that_was_cut_is_left_and_one_that_is_whole_is_taken() -> None:
    opening = f"data: {json.dumps(chunk({'content': 'yes'}))}\n\n"
    ending = f"data: {json.dumps(chunk({}, 'stop'))}"
    assert validate_answer(read((opening + ending).encode(), []), "m") == {
        "role": "assistant",
        "content": "yes",
    }
    cut = validate_answer(read((opening + ending[:-9]).encode(), []), "m")
    assert isinstance(cut, Flaw)
    assert cut.failure == "truncated_stream"


def piece(name: str, arguments: Any, **fields: Any) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments}, **fields}


@pytest.mark.parametrize(
    "calls",
    [
        # Some endpoints number every call 0, some number none, and some send each whole.
        [piece("x", "{}", index=0, id="a"), piece("y", "{}", index=0, id="b")],
        [piece("x", "{", id="a"), {"function": {"arguments": "}"}}, piece("y", {}, id="b")],
        [piece("x", "", index=0, id="a"), piece("y", None, index=1, id="b")],
    ],
)
def test_calls_are_distinguished_however_they_are_numbered(calls: list[dict[str, Any]]) -> None:
    parts = AnswerParts()
    for call in calls:
        parts.add(chunk({"tool_calls": [call]}))
    merged = parts.message()["tool_calls"]
    assert [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in merged] == [
        ("a", "x", "{}"),
        ("b", "y", "{}"),
    ]


@pytest.mark.parametrize(
    "event",
    [
        {"error": {"code": 500, "message": "out of memory"}},
        {"object": "error", "code": 500, "message": "out of memory"},
        {"choices": [{"error": {"code": 500, "message": "out of memory"}, "delta": {}}]},
    ],
)
def test_an_error_in_a_stream_is_seen_in_every_form(event: dict[str, Any]) -> None:
    flaw = validate_answer(read(f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n".encode(), []), "m")
    assert isinstance(flaw, Flaw)
    assert flaw.failure == "error_in_stream"
    assert "out of memory" in flaw.detail


def test_only_the_first_of_several_choices_is_read() -> None:
    parts = AnswerParts()
    for index in (1, 0, 1, 0):
        parts.add({"choices": [{"index": index, "delta": {"content": f"{index} "}}]})
    assert parts.message()["content"] == "0 0 "


@pytest.mark.parametrize("value", [2**80, "\ud800"])
def test_arguments_without_a_json_form_are_refused(value: Any) -> None:
    with pytest.raises(ToolCallError, match="no JSON form"):
        AnswerParts().add(chunk({"tool_calls": [piece("x", {"value": value})]}))


def test_a_flood_of_calls_is_refused() -> None:
    calls = [piece("x", "{}", index=index) for index in range(257)]
    AnswerParts().add(chunk({"tool_calls": calls[1:]}))
    with pytest.raises(ToolCallError, match="more than 256"):
        AnswerParts().add(chunk({"tool_calls": calls}))


def test_a_model_that_changes_in_mid_stream_is_a_mismatch() -> None:
    chunks = [chunk({"content": "a"}), {**chunk({"content": "b"}, "stop"), "model": "other"}]
    text = "".join(f"data: {json.dumps(event)}\n\n" for event in chunks)
    outcome = validate_answer(read(text.encode(), []), "m")
    assert isinstance(outcome, Flaw)
    assert outcome.failure == "model_mismatch"


def token(logprob: Any, token_id: int | None = None, alternatives: int = 0) -> dict[str, Any]:
    item = {
        "token": "t",
        "logprob": logprob,
        "top_logprobs": [{"token": "t", "logprob": -0.1}] * alternatives,
    }
    return item if token_id is None else {**item, "id": token_id}


@pytest.mark.parametrize(
    ("items", "ids", "logprobs"),
    [
        ([token(-0.5), token(-1)], None, [-0.5, -1.0]),
        ([token(-0.5, 7), token(-1, 8)], [7, 8], [-0.5, -1.0]),
        # One that is missing, or cannot be, leaves none: a gap must not become a number.
        ([token(-0.5), token(None)], None, None),
        ([token(-0.5), token("NaN")], None, None),
        ([token(-0.5), token(3.0)], None, None),
        ([token(-0.5, 7), token(-1)], None, [-0.5, -1.0]),
        ([], None, None),
    ],
)
def test_logprobs_are_whole_or_none(
    items: list[dict[str, Any]], ids: list[int] | None, logprobs: list[float] | None
) -> None:
    parts = AnswerParts()
    for item in items:
        parts.add({"choices": [{"delta": {"content": "t"}, "logprobs": {"content": [item]}}]})
    assert parts.tokens() == (ids, logprobs, None)


def test_logprobs_that_do_not_fit_the_ids_are_left_out() -> None:
    parts = AnswerParts()
    listed = {"content": [token(-0.5, alternatives=2)]}
    parts.add({"choices": [{"message": {"content": "t"}, "logprobs": listed, "token_ids": [5, 6]}]})
    tokens = parts.tokens()
    assert (tokens.completion_ids, tokens.logprobs) == ([5, 6], None)
    assert tokens.raw_top_logprobs == listed["content"]
