"""Goal: two different purchases never share a key.

Method: every value of a full request, and of the teacher's identity, is changed, removed and added to, one at
a time; each change must give another key.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.producers.teachers.question_lake import TOOLS, bash, teacher
from tracelake.producers.teachers.asking.request_body import request_body, request_key, teacher_name
from tracelake.producers.teachers.spec.teacher_file import TeacherSpec

MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "What is here?"}], "name": "ann"},
    bash("ls", "call-1"),
    {"role": "tool", "tool_call_id": "call-1", "content": "a b"},
]
FULL = teacher(
    "https://openrouter.ai/api/v1",
    model="anthropic/claude-opus-5.5",
    revision="2026-10",
    sampling={
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 3,
        "logprobs": True,
        "top_logprobs": 5,
        "reasoning_effort": "low",
    },
    routing={"only": ["a", "b"], "quantizations": ["fp8"], "max_price": {"prompt": 5, "completion": 20}},
)


def body_of(spec: TeacherSpec, sample_index: int = 0) -> dict[str, Any]:
    return request_body(spec, MESSAGES, TOOLS, sample_index)


def mutations(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The value changed at one place at a time, with the place."""
    if isinstance(value, dict):
        yield f"{path}+", value | {"added": 1}
        for key, inner in value.items():
            yield f"{path}.{key}-", {name: other for name, other in value.items() if name != key}
            for where, changed in mutations(inner, f"{path}.{key}"):
                yield where, value | {key: changed}
    elif isinstance(value, list):
        yield f"{path}+", [*value, "added"]
        if len(value) > 1 and value[0] != value[1]:
            yield f"{path}~", [value[1], value[0], *value[2:]]
        for index, inner in enumerate(value):
            yield f"{path}[{index}]-", value[:index] + value[index + 1 :]
            for where, changed in mutations(inner, f"{path}[{index}]"):
                yield where, [*value[:index], changed, *value[index + 1 :]]
    else:
        yield f"{path}!", _other(value)


def _other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, (int, float)) else f"{value}."


def test_every_change_of_a_request_changes_the_key() -> None:
    body = body_of(FULL)
    keys = {"as it is": request_key(FULL, body)} | {
        where: request_key(FULL, changed) for where, changed in mutations(body)
    }
    assert len(keys) > 100
    assert len(set(keys.values())) == len(keys)


@pytest.mark.parametrize("field", ["model", "revision", "base_url"])
def test_another_teacher_changes_the_key_and_another_label_does_not(field: str) -> None:
    body = body_of(FULL)
    other = FULL.model_copy(
        update={field: "http://127.0.0.1:1/v1" if field == "base_url" else "other-2026-01-02"}
    )
    assert request_key(other, body) != request_key(FULL, body)
    assert request_key(FULL.model_copy(update={"name": "other"}), body) == request_key(FULL, body)


@given(st.randoms(use_true_random=False))
def test_the_order_of_fields_does_not_change_the_key(random: Any) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            names = list(value)
            random.shuffle(names)
            return {name: shuffled(value[name]) for name in names}
        return [shuffled(each) for each in value] if isinstance(value, list) else value

    body = body_of(FULL)
    assert request_key(FULL, shuffled(body)) == request_key(FULL, body)


def test_fields_outside_the_chat_format_are_not_sent() -> None:
    body = body_of(teacher())
    assert "reasoning_content" not in body["messages"][2]
    assert body["messages"][2]["content"] is None
    assert body["messages"][1]["name"] == "ann"
    assert body["tools"] == TOOLS


def test_a_request_follows_the_teacher_file() -> None:
    body = body_of(FULL)
    assert body["provider"]["allow_fallbacks"] is False
    assert body["provider"]["only"] == ["a", "b"]
    assert (body["temperature"], body["max_tokens"], body["seed"]) == (0.5, 4096, 3)
    plain = body_of(teacher())
    assert set(plain) == {"model", "messages", "tools", "max_tokens"}


def test_cache_markers_are_at_the_end_of_the_opening_and_of_the_prompt() -> None:
    before = deepcopy(MESSAGES)
    messages = body_of(FULL)["messages"]
    marked = [index for index, each in enumerate(messages) if "cache_control" in str(each)]
    assert marked == [0, 3]
    assert messages[3]["content"] == [{"type": "text", "text": "a b", "cache_control": {"type": "ephemeral"}}]
    assert before == MESSAGES
    assert "cache_control" not in str(body_of(teacher()))


def test_a_teacher_is_named_by_its_model_and_revision() -> None:
    assert teacher_name(FULL) == "anthropic/claude-opus-5.5@2026-10"
    assert teacher_name(teacher()) == "model-one"
