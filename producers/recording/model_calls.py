"""Requests to a model and their answers, in the words of events.

Two APIs are read, as their JSON: OpenAI's chat completions and OpenAI's Responses.

**Everything of a request is recorded**: messages, tools, model; all other parameters are `settings`. Headers
are no part of it, for they carry keys.
**Equal messages of successive calls are one object**, so that a long context is converted once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, cast

import orjson

from tracelake.producers.importers.conversion.chat import read_message, tools_text
from tracelake.producers.importers.conversion.fields import mapping, sequence, text
from tracelake.producers.importers.conversion.model_response import (
    completion_fields,
    response_fields,
    response_message,
)
from tracelake.producers.importers.conversion.record import Record, extra_text
from tracelake.producers.importers.losses import Losses
from tracelake.producers.recording.responses_input import input_messages
from tracelake.schemas.errors import SourceFormatError
from tracelake.schemas.message import Message

Api = Literal["chat", "responses"]
_NO_SETTINGS = frozenset(
    {"messages", "input", "instructions", "model", "tools", "functions", "stream", "stream_options"}
    | {"previous_response_id", "extra_headers"}
)
"""Keys of a request that have a field of their own, or concern only the transport."""
LEFT_EARLY = "left_early"
"""Marks the completion of a stream that its reader left before the answer ended."""
_PARSED = ("parsed", "parsed_arguments", "output_parsed")
"""The client's own reading of an answer, which repeats it."""


class ModelCall(NamedTuple):
    """One request."""

    api: Api
    messages: list[Message]
    """The context; only its new part if the request names a previous response."""
    tools_json: str | None
    model: str | None
    settings: dict[str, Any]
    previous_response_id: str | None = None


class Answer(NamedTuple):
    """One choice of a response."""

    action: Message
    fields: dict[str, Any]
    """Of TurnCompleted; `prompt_ids` are the whole prompt."""


class CallReader:
    """Reads the requests of one rollout."""

    def __init__(self) -> None:
        self._messages: list[tuple[Any, list[Message]]] = []
        """Of the call before: a copy of each source message, and what was read from it."""
        self._tools: tuple[Any, str | None] = (None, None)

    def read(self, api: Api, request: dict[str, Any]) -> ModelCall:
        """Raises SourceFormatError."""
        if api == "responses":
            messages = input_messages(request.get("instructions"), request.get("input"))
        else:
            messages = sequence(request.get("messages"), "messages")
        return ModelCall(
            api,
            self._read_messages(messages),
            self._read_tools(request.get("tools") or request.get("functions")),
            text(request.get("model"), "model"),
            {key: value for key, value in request.items() if key not in _NO_SETTINGS and value is not None},
            text(request.get("previous_response_id"), "previous_response_id"),
        )

    def _read_messages(self, sources: list[Any]) -> list[Message]:
        read: list[tuple[Any, list[Message]]] = []
        for index, source in enumerate(sources):
            known = self._messages[index] if index < len(self._messages) else None
            if known is not None and known[0] == source:
                read.append(known)
            else:
                # A copy, so that nothing that an agent changes later is shared.
                copy = orjson.loads(_json(source))
                record = Record(mapping(copy, "messages[]"), "messages[]", Losses())
                read.append((copy, read_message(record)))
        self._messages = read
        return [message for _, messages in read for message in messages]

    def _read_tools(self, tools: Any) -> str | None:
        if not tools:
            return None
        if tools != self._tools[0]:
            copy = orjson.loads(_json(tools))
            found = [_chat_tool(mapping(tool, "tools[]")) for tool in sequence(copy, "tools")]
            self._tools = (copy, tools_text(found))
        return self._tools[1]


def answers_of(api: Api, response: dict[str, Any]) -> Iterator[Answer]:
    """Every choice of a response. The usage of a response with several is that of the first.

    Raises SourceFormatError."""
    response = _without_parsed(response)
    if api == "responses":
        record = Record(response, "response", Losses())
        action = response_message(record)
        fields = response_fields(record)
        yield Answer(action, {**fields, "extra_json": extra_text(record)})
        return
    choices = sequence(response.get("choices"), "choices")
    if not choices:
        raise SourceFormatError(
            "a response without an answer",
            got=f"keys {', '.join(sorted(response))[:100]}",
            expected="choices",
        )
    for index, choice in enumerate(choices):
        one = {**response, "choices": [choice]}
        if index:
            one.pop("usage", None)
        yield _completion_answer(one, mapping(choice, "choices[]"), index)


def _completion_answer(response: dict[str, Any], choice: dict[str, Any], index: int) -> Answer:
    spoken = {"role": "assistant", **mapping(choice.get("message"), "choices[].message")}
    message = Record(spoken, "message", Losses())
    [*_, action] = read_message(message)
    left_early = bool(response.pop(LEFT_EARLY, False))
    record = Record(response, "response", Losses())
    fields = completion_fields(record, spoken)
    if left_early:
        fields |= {"truncated": True, "truncated_by": "reader"}
    named = {"message": message.rest(), "choice": {"index": index} if index else {}}
    return Answer(action, {**fields, "extra_json": extra_text(record, **named)})


def message_answer(message: dict[str, Any]) -> Answer:
    """An assistant message alone, as the answer of any other API. Raises SourceFormatError."""
    record = Record(message, "message", Losses())
    [*_, action] = read_message(record)
    if action["role"] != "assistant":
        raise SourceFormatError("an answer of another role", got=action["role"], expected="assistant")
    return Answer(action, {"extra_json": extra_text(record)})


def _chat_tool(tool: dict[str, Any]) -> dict[str, Any]:
    """A function of the Responses API in the shape of the chat API; other tools stay as they are."""
    if tool.get("type") != "function" or "function" in tool:
        return tool if "type" in tool else {"type": "function", "function": tool}
    return {"type": "function", "function": {key: value for key, value in tool.items() if key != "type"}}


def _without_parsed(value: Any) -> Any:
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {key: _without_parsed(item) for key, item in items if key not in _PARSED}
    if isinstance(value, list) and value and not isinstance(value[0], (int, float)):
        return [_without_parsed(item) for item in cast("list[Any]", value)]
    return value


def _json(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError as error:
        raise SourceFormatError(
            "a request that has no JSON form", got=str(error), expected="values that JSON has"
        ) from error
