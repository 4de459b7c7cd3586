"""Goal: two recordings of one state share its key, whichever tool recorded them; different states never do.

Method: conversations are drawn, then rewritten as another recorder would write them, or changed in one place.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelake.schemas.errors import EventInvalidError
from tracelake.schemas.message import (
    Message,
    StateHasher,
    canonical_action,
    canonical_arguments,
    content_text,
    tool_calls_of,
    tools_key,
)

ARGUMENTS = st.dictionaries(
    st.text(max_size=3),
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(-9, 9),
    max_size=3,
)
NAMES = st.sampled_from(["bash", "edit", "submit"])


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    """A prompt, then turns of an assistant with calls, each call answered in order."""
    messages: list[Message] = [
        {"role": "system", "content": draw(st.text(max_size=5))},
        {"role": "user", "content": draw(st.text(max_size=5))},
    ]
    for turn in range(draw(st.integers(1, 3))):
        calls = draw(st.lists(st.tuples(NAMES, ARGUMENTS), max_size=3))
        ids = [f"call-{turn}-{index}" for index in range(len(calls))]
        tool_calls = [
            {
                "id": call_id,
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(arguments)},
            }
            for call_id, (name, arguments) in zip(ids, calls, strict=True)
        ]
        messages.append({"role": "assistant", "content": draw(st.text(max_size=5)), "tool_calls": tool_calls})
        for call_id in ids:
            messages.append({"role": "tool", "content": draw(st.text(max_size=5)), "tool_call_id": call_id})
    return messages


def key_of(messages: list[Message], tools_json: str | None = None) -> str:
    hasher = StateHasher(tools_json)
    for message in messages:
        hasher.add(message)
    assert hasher.context_length == len(messages)
    return hasher.key()


def with_ids(messages: list[Message], rename: dict[str, str | None]) -> list[Message]:
    """The conversation with other call ids; None leaves the field out."""
    renamed = copy.deepcopy(messages)
    for message in renamed:
        for owner, name in [
            (message, "tool_call_id"),
            *((call, "id") for call in message.get("tool_calls", [])),
        ]:
            if name in owner:
                new = rename[owner.pop(name)]
                owner.update({} if new is None else {name: new})
    return renamed


def ids_of(messages: list[Message]) -> list[str]:
    return [call["id"] for message in messages for call in message.get("tool_calls", [])]


@given(conversations(), st.randoms())
def test_call_ids_do_not_change_the_key(messages: list[Message], random: Any) -> None:
    ids = ids_of(messages)
    fresh = [f"toolu_{random.random()}" for _ in ids]
    assert key_of(with_ids(messages, dict(zip(ids, fresh, strict=True)))) == key_of(messages)


@given(conversations())
def test_a_recorder_that_reuses_call_ids_in_every_turn_gives_the_same_key(messages: list[Message]) -> None:
    reused: dict[str, str | None] = {call_id: call_id.rsplit("-", 1)[-1] for call_id in ids_of(messages)}
    assert key_of(with_ids(messages, reused)) == key_of(messages)


@given(conversations())
def test_a_recorder_without_call_ids_gives_the_same_key(messages: list[Message]) -> None:
    without: dict[str, str | None] = dict.fromkeys(ids_of(messages))
    assert key_of(with_ids(messages, without)) == key_of(messages)


@given(conversations())
def test_a_recorder_without_ids_on_tool_results_gives_the_same_key(messages: list[Message]) -> None:
    rewritten = [{name: value for name, value in each.items() if name != "tool_call_id"} for each in messages]
    assert key_of(rewritten) == key_of(messages)


@given(conversations(), st.randoms())
def test_provider_fields_key_order_and_spaces_do_not_change_the_key(
    messages: list[Message], random: Any
) -> None:
    rewritten = copy.deepcopy(messages)
    for message in rewritten:
        message |= {"refusal": None, "annotations": [], "provider_specific_fields": {"cost": random.random()}}
        for call in message.get("tool_calls", []):
            pairs = list(json.loads(call["function"]["arguments"]).items())
            random.shuffle(pairs)
            call["function"]["arguments"] = json.dumps(
                dict(pairs), indent=2, ensure_ascii=random.random() < 0.5
            )
            call["index"] = random.random()
    assert key_of(rewritten) == key_of(messages)


@given(conversations())
def test_arguments_recorded_as_an_object_give_the_same_key_as_their_text(messages: list[Message]) -> None:
    rewritten = copy.deepcopy(messages)
    for message in rewritten:
        for call in message.get("tool_calls", []):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    assert key_of(rewritten) == key_of(messages)


@given(conversations(), st.data())
def test_every_text_changes_the_key(messages: list[Message], data: st.DataObject) -> None:
    changed = copy.deepcopy(messages)
    data.draw(st.sampled_from(changed))["content"] += "x"
    assert key_of(changed) != key_of(messages)


@given(conversations(), st.data())
def test_order_and_number_of_messages_change_the_key(messages: list[Message], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(messages) - 2))
    swapped = [*messages[:index], messages[index + 1], messages[index], *messages[index + 2 :]]
    if messages[index] != messages[index + 1]:
        assert key_of(swapped) != key_of(messages)
    assert key_of(messages[:-1]) != key_of(messages)
    assert key_of([*messages, messages[-1]]) != key_of(messages)


@given(conversations(), st.data())
def test_every_part_of_a_call_changes_the_key(messages: list[Message], data: st.DataObject) -> None:
    changed = copy.deepcopy(messages)
    calls = [call["function"] for message in changed for call in message.get("tool_calls", [])]
    if not calls:
        return
    call = data.draw(st.sampled_from(calls))
    if data.draw(st.booleans()):
        call["name"] += "_other"
    else:
        call["arguments"] = json.dumps({**json.loads(call["arguments"]), "a key of five": 1})
    assert key_of(changed) != key_of(messages)


def test_results_with_swapped_call_ids_are_another_state() -> None:
    calls = [{"id": name, "function": {"name": "bash", "arguments": "{}"}} for name in "ab"]
    results = [{"role": "tool", "content": name, "tool_call_id": name} for name in "ab"]
    crossed = [{**results[0], "tool_call_id": "b"}, {**results[1], "tool_call_id": "a"}]
    action = {"role": "assistant", "content": "", "tool_calls": calls}
    assert key_of([action, *results]) != key_of([action, *crossed])
    assert key_of([action, *results]) != key_of([action, *reversed(results)])


def test_tools_roles_names_and_earlier_messages_change_the_key() -> None:
    message = {"role": "user", "content": "hello"}
    keys = {
        key_of([]),
        key_of([message]),
        key_of([message], "[]"),
        key_of([message], '[{"type":"function"}]'),
        key_of([{**message, "role": "system"}]),
        key_of([{**message, "name": "ann"}]),
        key_of([message, message]),
    }
    assert len(keys) == 7
    assert key_of([message], "") == key_of([message], None)


@given(st.lists(st.text(max_size=4), max_size=4), st.lists(st.text(max_size=4), max_size=4))
def test_the_boundary_between_messages_changes_the_key(texts: list[str], others: list[str]) -> None:
    keys = [key_of([{"role": "user", "content": text} for text in group]) for group in (texts, others)]
    assert (keys[0] == keys[1]) == (texts == others)


def test_text_parts_are_joined_and_other_content_is_canonical_json() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert content_text(parts) == "ab"
    assert content_text(None) == content_text([]) == content_text("") == ""
    image = {"type": "image_url", "image_url": {"url": "x"}}
    assert (
        content_text([parts[0], image])
        == '[{"text":"a","type":"text"},{"image_url":{"url":"x"},"type":"image_url"}]'
    )
    assert content_text({"type": "text", "text": "a"}) == "a"
    for odd in ([{"type": "text", "content": "a"}], [{"type": "text", "text": None}], ["a"], [1], 5):
        assert json.loads(content_text(odd)) == odd


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("{}", {}),
        ('{"id": 12345678901234567890123}', {"id": 12345678901234567890123}),
        ('{"id": 18446744073709551616, "x": 0.5}', {"id": 18446744073709551616, "x": 0.5}),
        ("[1, 2", "[1, 2"),
        ("ls -la", "ls -la"),
        ("", ""),
        ('{"a": NaN}', '{"a": NaN}'),
        ("9" * 5000, "9" * 5000),
        ('{"deep": ' + "[" * 2000 + "]" * 2000 + "}", None),
    ],
    ids=lambda value: str(value)[:20],
)
def test_arguments_that_are_json_are_parsed_without_losing_a_digit(text: str, parsed: Any) -> None:
    assert canonical_arguments(text) == (text if parsed is None else parsed)


HOSTILE_ARGUMENTS = [
    "",
    "{",
    "null",
    "5",
    '"text"',
    "\x00",
    '{"a": "\\ud800"}',
    '{"a": 1e999}',
    '{"a": 12345678901234567890, "b": NaN}',
    '{"a": 12345678901234567890, "b": "\\ud800"}',
    '{"a": 12345678901234567890, "b": 1e999}',
    '{"a":' * 300 + "1" + "}" * 300,
    '{"a":' * 10**5 + "1" + "}" * 10**5,
    '{"a": 12345678901234567890, "b":' + "[" * 10**5 + "]" * 10**5 + "}",
    '{"a": ' + "9" * 5000 + "}",
]


@pytest.mark.parametrize("arguments", HOSTILE_ARGUMENTS, ids=lambda text: text[:30])
def test_no_arguments_that_a_policy_can_write_raise(arguments: str) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "bash", "arguments": arguments}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    other = copy.deepcopy(message)
    other["tool_calls"][0]["function"]["arguments"] += "x"  # type: ignore[index]
    assert key_of([message]) != key_of([other])
    assert canonical_action(message) != canonical_action(other)
    assert json.loads(canonical_action(message))["tool_calls"][0]["name"] == "bash"


def test_large_ids_that_differ_in_the_last_digit_are_different_actions_and_states() -> None:
    def message(number: int) -> Message:
        function = {"name": "get", "arguments": f'{{"id": {number}}}'}
        return {"role": "assistant", "content": "", "tool_calls": [{"id": "c", "function": function}]}

    one, other = message(10**22 + 1), message(10**22 + 2)
    assert canonical_action(one) != canonical_action(other)
    assert key_of([one]) != key_of([other])


def test_an_action_is_content_and_calls_without_ids_and_provider_fields() -> None:
    function = {"name": "bash", "arguments": '{"b": 1.0, "a": "x"}'}
    message = {
        "role": "assistant",
        "content": "hm",
        "tool_calls": [{"id": "1", "function": function}],
        "x": 1,
    }
    assert canonical_action(message) == (
        '{"content":"hm","tool_calls":[{"arguments":{"a":"x","b":1},"name":"bash"}]}'
    )
    flat = {"content": [{"type": "text", "text": "hm"}], "tool_calls": [{"id": "2", **function}]}
    assert canonical_action(flat) == canonical_action(message)
    assert canonical_action({}) == canonical_action({"content": None, "tool_calls": None})


@pytest.mark.parametrize("calls", ["bash", [1], [None], ["bash"], [{"function": "bash"}], 7], ids=str)
def test_calls_in_another_format_are_refused_with_a_typed_error(calls: Any) -> None:
    with pytest.raises(EventInvalidError, match="tool call"):
        tool_calls_of({"role": "assistant", "tool_calls": calls})


@pytest.mark.parametrize(
    "message",
    [{}, {"role": None, "content": ""}, {"role": "user", "content": "\ud800"}],
    ids=["none", "null", "text"],
)
def test_a_message_without_a_canonical_form_is_refused_with_a_typed_error(message: Message) -> None:
    with pytest.raises(EventInvalidError):
        StateHasher().add(message)


def test_a_numeric_call_id_matches_its_result() -> None:
    call = {"id": 7, "function": {"name": "bash", "arguments": "{}"}}
    numbered = [
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": 7, "content": "x"},
    ]
    lettered = copy.deepcopy(numbered)
    lettered[0]["tool_calls"][0]["id"] = lettered[1]["tool_call_id"] = "seven"  # type: ignore[index]
    assert key_of(numbered) == key_of(lettered)


def test_the_tools_key_is_null_if_the_source_has_no_tools() -> None:
    assert tools_key(None) is None
    assert tools_key("[]") != tools_key("[{}]")
