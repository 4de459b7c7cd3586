"""What `TurnCompleted` says about a call, computed from the calls before it: where its context continues
another, its state, its new messages and its new token ids.
"""

from __future__ import annotations

from typing import Any

import orjson

from tracelake.producers.importers.conversion.chat import message_text, messages_text
from tracelake.producers.importers.conversion.fields import without_secrets
from tracelake.producers.recording.context_tree import ContextTree, Place
from tracelake.producers.recording.model_calls import Answer, ModelCall
from tracelake.producers.recording.tool_calls import ToolCalls
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.message import Message
from tracelake.schemas.tokens import PromptEncoder


class TurnFields:
    """The turns of one rollout in their order."""

    def __init__(self, tool_calls: ToolCalls) -> None:
        self.turn_count = 0
        self._tool_calls = tool_calls
        self._tree = ContextTree()
        self._prompts = PromptEncoder()
        self._contexts: dict[str, list[Message]] = {}
        """By response id: context and action, for requests that name a previous response."""

    def context_of(self, call: ModelCall) -> list[Message]:
        """All messages that the model saw; a previous response of another rollout is unknown."""
        return [*self._contexts.get(call.previous_response_id or "", ()), *call.messages]

    def place(self, call: ModelCall) -> Place:
        """Raises EventInvalidError."""
        return self._tree.place(self.context_of(call), call.tools_json)

    def add(
        self, call: ModelCall, first_call: ModelCall | None, place: Place, answer: Answer
    ) -> dict[str, Any]:
        """The fields of the next turn. Raises EventInvalidError."""
        turn_index = self.turn_count
        fields = {key: value for key, value in answer.fields.items() if value is not None}
        whole_prompt = fields.pop("prompt_ids", None)
        fields |= {
            "model_requested": call.model,
            "turn_index": turn_index,
            "parent_turn_index": place.parent_turn_index,
            "state_key": place.state_key,
            "context_length": place.context_length,
            "new_messages_json": _text(messages_text, place.new_messages),
            "action_json": _text(message_text, answer.action),
            "tool_call_count": len(answer.action.get("tool_calls") or ()),
            "extra_json": self._extra_text(call, first_call, place, fields.get("extra_json")),
        }
        completion_ids = fields.get("completion_ids")
        fields |= self._prompts.add(
            turn_index, place.parent_turn_index, whole_prompt, completion_ids
        )._asdict()
        self._tree.add(turn_index, place, answer.action)
        self._tool_calls.add_turn(turn_index, answer.action)
        if call.api == "responses" and answer.fields.get("response_id"):
            self._contexts[answer.fields["response_id"]] = [*self.context_of(call), answer.action]
        self.turn_count += 1
        return fields

    def _extra_text(
        self, call: ModelCall, first_call: ModelCall | None, place: Place, of_answer: str | None
    ) -> str | None:
        """What no field holds: of the answer, and of a request that differs from the rollout's first."""
        extra: dict[str, Any] = orjson.loads(of_answer) if of_answer else {}
        if first_call is None or call.tools_json != first_call.tools_json:
            extra["tools"] = orjson.loads(call.tools_json) if call.tools_json else []
        if first_call is None or call.settings != first_call.settings:
            extra["settings"] = without_secrets(call.settings)
        if call.previous_response_id is not None and call.previous_response_id not in self._contexts:
            extra["previous_response_id"] = call.previous_response_id
        if differing := self._tool_calls.differing_in(place.new_messages):
            extra["results_shown_otherwise"] = differing
        return canonical_text(extra) if extra else None


def _text(write: Any, value: Any) -> str:
    try:
        return write(value)
    except TypeError:
        # Half of a surrogate pair: the canonical writer says which text has no canonical form.
        return canonical_text(value)
