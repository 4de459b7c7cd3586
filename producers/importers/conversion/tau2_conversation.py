"""The messages of one simulation of tau2-bench as turns and tool results.

**The agent saw only what was addressed to it.** The simulated user calls tools of its own: such a call is no
turn and no context. Its result is an event with `raw_output` alone, and the call in `extra_json`.
**The recorder writes a cost of 0 where it knows no price**: after tokens were used, that is unknown.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tracelake.producers.importers.conversion.chat import read_message
from tracelake.producers.importers.conversion.fields import mapping, sequence, text
from tracelake.producers.importers.conversion.model_response import completion_fields
from tracelake.producers.importers.conversion.record import Record
from tracelake.producers.importers.conversion.rollout_builder import RolloutBuilder
from tracelake.producers.importers.importer import as_object
from tracelake.producers.importers.losses import Losses
from tracelake.schemas.message import Message, canonical_arguments

# What a message of a written conversation says of speech.
_NO_SPEECH = {"is_audio": False, "is_final_chunk": True, "contains_speech": True}
_EXTRA_OF_MESSAGE = (
    "cost", "usage", "errors", "requestor", "context_truncation", "generation_time_seconds", "ticks",
    "audio_format", "audio_path", "audio_script_gold", "speech_effects", "source_effects", "channel_effects",
    "turn_taking_action", "utterance_ids", "chunk_id", "source", *_NO_SPEECH,
)  # fmt: skip
_EXTRA_OF_REPLY = (
    "role", "content", "tool_calls", "function_call", "annotations", "audio", "images",
    "provider_specific_fields", "reasoning_content", "thinking_blocks",
)  # fmt: skip
_FOLLOWS = "follows from the order"


def message_records(messages: list[Any], losses: Losses) -> list[Record]:
    """The messages of a simulation, to be added in their order."""
    shaped = [_without_own_requestor(mapping(message, "messages[]")) for message in messages]
    return [Record(message, "$.simulations[].messages[]", losses) for message in shaped]


def _without_own_requestor(message: dict[str, Any]) -> dict[str, Any]:
    """A message whose calls do not repeat who made them."""
    calls, role = message.get("tool_calls"), message.get("role")
    if not isinstance(calls, list):
        return message
    shaped: list[Any] = [
        {key: value for key, value in call.items() if key != "requestor" or value != role}
        if isinstance(call, dict)
        else call
        for call in calls
    ]
    return {**message, "tool_calls": shaped}


class Conversation:
    """Adds the messages of one simulation to its rollout."""

    def __init__(self, rollout: RolloutBuilder, model: str | None, losses: Losses) -> None:
        self.aside: list[Record] = []
        """What the user said to the tools, for the next event."""
        self.has_unknown_cost = False
        self._rollout = rollout
        self._model = model
        self._losses = losses
        self._calls: list[Message] = []
        """The agent's latest calls that have no result yet."""
        self._user_calls: dict[str, str] = {}

    def add(self, message: Record) -> None:
        message.drop(_FOLLOWS, "turn_idx")
        if "tool_messages" in message:
            for result in message.records("tool_messages"):
                self.add(result)
            message.has_read("role")
            self.aside.append(message)
            return
        message.has_read(*(key for key, value in _NO_SPEECH.items() if message.source.get(key) is value))
        message.keep(*_EXTRA_OF_MESSAGE)
        role = message.source.get("role")
        if role == "tool":
            self._add_result(message)
        elif role == "assistant":
            self._add_turn(message)
        elif message.source.get("tool_calls"):
            self._set_aside(message)
        else:
            _keep_time(message)
            _drop_copied_reply(message)
            self._rollout.read_context(message)

    def _add_turn(self, message: Record) -> None:
        [action] = read_message(message)
        source = message.source
        self._calls = list(action.get("tool_calls") or [])
        fields: dict[str, Any] = {}
        response = _response(message, action)
        if response.source:
            fields = completion_fields(response, source)
        is_scripted = not (response.source or self._calls or self._rollout.turn_count)
        if is_scripted:
            message.note("the scripted greeting is a turn without a model")
        cost_usd = message.number("cost")
        if cost_usd == 0 and (fields.get("prompt_token_count") or fields.get("completion_token_count")):
            cost_usd = None
            self.has_unknown_cost = True
            message.note("a cost of 0 after tokens were used: unknown")
        fields |= {
            "model_requested": None if is_scripted else self._model,
            "cost_usd": cost_usd,
            "latency_ms": message.milliseconds("generation_time_seconds"),
            "occurred_at": _keep_time(message),
        }
        self._rollout.add_turn(action, fields, message, response, *self.aside)
        self.aside = []

    def _set_aside(self, message: Record) -> None:
        """A call of the simulated user, which the agent did not see."""
        for item in sequence(message.source.get("tool_calls"), "tool_calls"):
            call = mapping(item, "tool_calls[]")
            call_id, name = (
                text(call.get("id"), "tool_calls[].id"),
                text(call.get("name"), "tool_calls[].name"),
            )
            if call_id and name:
                self._user_calls[call_id] = name
        self._put_aside("user_message", message)
        message.note("calls of the simulated user are no turns: their results have raw_output alone")

    def _put_aside(self, name: str, message: Record) -> None:
        aside = Record({name: message.source}, message.where, self._losses)
        aside.keep(name)
        self.aside.append(aside)

    def _add_result(self, message: Record) -> None:
        rollout = self._rollout
        call_id, content = message.text("id"), message.text("content")
        failed = message.flag("error")
        fields = {"error": content or "error" if failed else None, "occurred_at": _keep_time(message)}
        message.has_read("role")
        if message.source.get("requestor") == "user":
            if not rollout.turn_count:
                self._put_aside("user_result", message)
                return
            name = self._user_calls.get(call_id or "")
            fields |= {"tool_call_id": call_id or None, "tool_name": name, "raw_output": content}
            rollout.add_tool_result(fields, message, *self.aside)
            self.aside = []
            return
        message.has_read("requestor")
        context: Message = {"role": "tool", "content": content}
        if call_id:
            context["tool_call_id"] = call_id
        if not rollout.turn_count:
            rollout.add_context(context, message)
            return
        call = next((call for call in self._calls if not call_id or call["id"] == call_id), None)
        if call is not None:
            self._calls.remove(call)
        fields |= {
            "tool_call_id": call_id or None,
            "tool_name": call["function"]["name"] if call else None,
            "visible_output": content or "",
        }
        rollout.add_tool_result(fields, message)
        rollout.add_context(context)


def _keep_time(message: Record) -> datetime | None:
    """The time of a message; the recorder's clock names no zone, then it stays as text."""
    time = message.source.get("timestamp")
    if isinstance(time, str) and not (time.endswith("Z") or "+" in time):
        message.keep("timestamp")
        return None
    return message.moment("timestamp")


def _response(message: Record, action: Message) -> Record:
    """The model's response as far as it was saved: in most versions its only choice; empty without any."""
    raw, usage = message.record("raw_data").take_all(), message.record("usage").take_all()
    found: dict[str, Any] = {}
    if raw:
        found = dict(raw) if "choices" in raw else {"choices": [raw]}
    if usage:
        found["usage"] = found.get("usage") or usage
    response = Record(found, f"{message.where}.raw_data", message.losses)
    for choice in response.records("choices"):
        reply = choice.record("message")
        if _calls_of(reply.source) == _calls_of(action):
            reply.has_read("tool_calls")
        reply.keep(*_EXTRA_OF_REPLY)
        choice.record("provider_specific_fields").keep("content_filter_result", "content_filter_results")
    return response


def _calls_of(message: Message) -> list[Any]:
    """Each call for comparison: arguments as text or parsed are the same."""
    found: list[Any] = []
    for item in sequence(message.get("tool_calls"), "tool_calls"):
        call = dict(as_object(item))
        function = dict(as_object(call.pop("function", None)))
        arguments = function.pop("arguments", None)
        parsed = canonical_arguments(arguments) if isinstance(arguments, str) else arguments
        found.append((call, function, parsed))
    return found


def _drop_copied_reply(message: Record) -> None:
    """What the simulated user's model replied, where the message says the same."""
    raw = message.record("raw_data")
    reply = raw.record("message")
    if reply.source.get("content") == message.source.get("content"):
        reply.has_read("content")
    reply.keep(*_EXTRA_OF_REPLY)
    raw.keep(*raw.source)
