"""Chat messages of any source in OpenAI's shape, and the turns that they make.

**A message keeps what the model could see**: role, content, calls with their arguments as text, call id,
name, reasoning. Provider fields and recorder metadata are left out.
**A turn stores the messages that are new since its parent's action.** A reply that the source dropped from
the context is a turn too, with no child: the next turn continues the one before it.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar, cast

import orjson
from pydantic import BaseModel

from tracelake.producers.importers.fields import mapping, sequence, text
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.errors import SourceFormatError
from tracelake.schemas.events.event import Event
from tracelake.schemas.events.rollout_events import TurnCompleted
from tracelake.schemas.message import Message, StateHasher

EventType = TypeVar("EventType", bound=Event)

_TEXT_PARTS = ("input_text", "output_text")


def chat_message(message: Any) -> Message:
    """Raises SourceFormatError if it is not a chat message."""
    # Runs once per message of every import: the fields are unrolled, and text passes without a call.
    source = message if type(message) is dict else mapping(message, "message")
    role = source.get("role")
    content = source.get("content")
    call_id = source.get("tool_call_id")
    name = source.get("name")
    reasoning = source.get("reasoning_content")
    if type(role) is not str:
        raise SourceFormatError(
            "a message without a role", got=repr(role), expected="system, user, assistant, tool"
        )
    result: Message = {"role": role, "content": content if type(content) is str else chat_content(content)}
    if call_id is not None:
        result["tool_call_id"] = call_id if type(call_id) is str else text(call_id, "tool_call_id")
    if name is not None:
        result["name"] = text(name, "name")
    if reasoning is not None:
        result["reasoning_content"] = text(reasoning, "reasoning_content")
    if source.get("tool_calls"):
        result["tool_calls"] = [chat_call(call) for call in sequence(source["tool_calls"], "tool_calls")]
    return result


def chat_messages(messages: Any, where: str) -> list[Message]:
    return [chat_message(message) for message in sequence(messages, where)]


def chat_content(content: object) -> str | list[Any] | None:
    """Text, null, or a list of parts, text parts of the Responses API in the shape of the chat API."""
    if content is None or type(content) is str:
        return content
    return [_part(part) for part in sequence(content, "content")]


def _part(part: Any) -> Any:
    if type(part) is dict and cast("dict[str, Any]", part).get("type") in _TEXT_PARTS:
        return {"type": "text", "text": text(cast("dict[str, Any]", part).get("text"), "content") or ""}
    if type(part) is str:
        return {"type": "text", "text": part}
    return mapping(part, "content")


def chat_call(call: Any) -> Message:
    """A tool call in OpenAI's shape; some recorders keep it as JSON text, and arguments as an object."""
    source = (
        call
        if type(call) is dict
        else mapping(orjson.loads(call) if type(call) is str else call, "tool_calls")
    )
    function = source.get("function")
    body = source if function is None else mapping(function, "tool_calls.function")
    arguments = body.get("arguments")
    if type(arguments) is not str:
        arguments = canonical_text({} if arguments is None else arguments)
    called = {"name": text(body.get("name"), "tool_calls.function.name"), "arguments": arguments}
    return {"id": text(source.get("id"), "tool_calls.id"), "type": "function", "function": called}


def call_names(action: Message) -> dict[str, str]:
    """Tool name by call id."""
    calls = cast("list[Message]", action.get("tool_calls") or [])
    return {call["id"]: call["function"]["name"] for call in calls if call["id"] and call["function"]["name"]}


def tools_text(tools: Any) -> str | None:
    """Tool definitions in OpenAI's function shape as canonical JSON; null where there are none."""
    found = [
        mapping(orjson.loads(tool) if type(tool) is str else tool, "tools")
        for tool in sequence(tools, "tools")
    ]
    shaped = [tool if "function" in tool else {"type": "function", "function": tool} for tool in found]
    return canonical_text(shaped) if shaped else None


def message_text(message: Message) -> str:
    """Canonical JSON of one message that `chat_message` made."""
    if type(message["content"]) is list:
        return canonical_text(message)
    return orjson.dumps(message, option=orjson.OPT_SORT_KEYS).decode()


def messages_text(messages: list[Message]) -> str:
    """Canonical JSON of messages that `chat_message` made."""
    for message in messages:
        if type(message["content"]) is list:
            return canonical_text(messages)
    # Only text and nulls under ASCII keys: sorted keys already are the canonical form.
    return orjson.dumps(messages, option=orjson.OPT_SORT_KEYS).decode()


def checked_fact(cls: type[EventType], fields: dict[str, Any]) -> EventType:
    """An event of fields that `fields.py` has read; other fields have their defaults.

    Their types are known: pydantic checking them a second time would be a tenth of an import.
    """
    event = cls.__new__(cls)
    defaults, names = _defaults(cls)
    _SET_VALUES(event, {**defaults, **fields})
    _SET_NAMES(event, names)
    _SET_EXTRA(event, None)
    _SET_PRIVATE(event, None)
    return event


# The slots themselves: a frozen model refuses assignment, and `object.__setattr__` looks each of them up.
_SET_VALUES, _SET_NAMES, _SET_EXTRA, _SET_PRIVATE = (
    BaseModel.__dict__[slot].__set__
    for slot in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
)


@cache
def _defaults(cls: type[Event]) -> tuple[dict[str, Any], set[str]]:
    """Values of the fields that need none given, and the names of all fields."""
    given = {name: info.default for name, info in cls.model_fields.items() if not info.is_required()}
    return given, set(cls.model_fields)


class TurnsBuilder:
    """Collects the events of one rollout, in the order in which they happened."""

    def __init__(self, rollout_id: str, tools_json: str | None = None) -> None:
        self.rollout_id = rollout_id
        self.events: list[Event] = []
        self.turn_count = 0
        self._tools_json = tools_json
        self._parent: int | None = None
        # Context and action of each turn, for sources that state whole contexts.
        self._told: list[list[Message]] = []
        self._hasher = StateHasher(tools_json)
        self._new: list[Message] = []

    def add_context(self, message: Message) -> None:
        self._new.append(message)
        self._hasher.add(message)

    def add_turn(self, action: Message, fields: dict[str, Any], *, kept: bool = True) -> None:
        """One model call; `kept` is false for a reply that never joined the context."""
        fields["rollout_id"] = self.rollout_id
        fields["turn_index"] = self.turn_count
        fields["parent_turn_index"] = self._parent
        fields["state_key"] = self._hasher.key()
        fields["context_length"] = self._hasher.context_length
        fields["new_messages_json"] = messages_text(self._new)
        fields["action_json"] = message_text(action)
        fields["tool_call_count"] = len(action.get("tool_calls") or ())
        self.events.append(checked_fact(TurnCompleted, fields))
        if kept:
            self._hasher.add(action)
            self._parent = self.turn_count
            self._new = []
        self.turn_count += 1

    def metrics_text(self, metrics: dict[str, Any]) -> str | None:
        """Metrics of the end as canonical JSON. Messages that no call saw, such as a user's goodbye, go with
        them, or they would be lost; tool results have their own events."""
        unseen = [message for message in self._new if message["role"] != "tool"]
        whole = {**metrics, "messages_after_last_turn": unseen} if unseen else metrics
        return canonical_text(whole) if whole else None

    def add_turn_at(self, context: list[Message], action: Message, fields: dict[str, Any]) -> None:
        """One model call whose whole context the source states: it continues the nearest earlier turn whose
        context and action begin it, else it is a new root."""
        ancestor = self._ancestor_of(context)
        known = 0 if ancestor is None else len(self._told[ancestor])
        self._parent = ancestor
        self._new = context[known:]
        self._hasher = StateHasher(self._tools_json)
        for message in context:
            self._hasher.add(message)
        self._told.append([*context, action])
        self.add_turn(action, fields)

    def _ancestor_of(self, context: list[Message]) -> int | None:
        for turn_index in range(len(self._told) - 1, -1, -1):
            told = self._told[turn_index]
            if context[: len(told)] == told:
                return turn_index
        return None
