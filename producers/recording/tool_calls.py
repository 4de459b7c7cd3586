"""The tool calls of a rollout and their results.

**A call has one result**: what the agent recorded, else what a later call shows of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from tracelake.producers.importers.conversion.chat import result_text
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.errors import RecordingError
from tracelake.schemas.message import Message

_SHOWN_MAX = 5
"""Call ids in an error."""


class _Call:
    """One call of one turn."""

    def __init__(self, turn_index: int, name: str | None) -> None:
        self.turn_index = turn_index
        self.name = name
        self.has_result = False
        self.shown: str | None = None
        """The recorded result as the model should see it."""


class ToolCalls:
    """Calls by their ids. Where two turns use one id, it means the call of the later turn."""

    def __init__(self) -> None:
        self._calls: dict[str, _Call] = {}
        self._turn_index: int | None = None
        self._result_counts: Counter[int] = Counter()

    def add_turn(self, turn_index: int, action: Message) -> None:
        self._turn_index = turn_index
        for call in action.get("tool_calls") or ():
            if call["id"]:
                self._calls[call["id"]] = _Call(turn_index, call["function"]["name"])

    def take_result(self, call_id: str | None, shown: str | None, name: str | None) -> dict[str, Any]:
        """Fields of ToolReturned that say which call a result belongs to.

        Raises RecordingError for an unknown call, and for a second result of one."""
        if call_id is None:
            if self._turn_index is None:
                raise RecordingError("a tool result before the first turn", expected="a model call before it")
            return self._fields(self._turn_index, None, name)
        call = self._calls.get(call_id)
        if call is None:
            raise RecordingError(
                "a result of an unknown tool call",
                got=call_id,
                expected=self._expected(),
                cure="Give the id of the call in the model's reply, or null for an action without one.",
            )
        if call.has_result:
            raise RecordingError(
                "a second result of a tool call",
                got=call_id,
                expected="one result, recorded before the next model call",
            )
        call.has_result, call.shown = True, shown
        return self._fields(call.turn_index, call_id, name or call.name)

    def results_in(self, messages: list[Message]) -> Iterator[dict[str, Any]]:
        """Fields of ToolReturned for the results in a context that nobody recorded."""
        for message in messages:
            call = self._calls.get(message.get("tool_call_id") or "") if message["role"] == "tool" else None
            if call is not None and not call.has_result:
                text = result_text(message)
                found = self.take_result(message["tool_call_id"], text, message.get("name"))
                yield {**found, "visible_output": text}

    def differing_in(self, messages: list[Message]) -> list[str]:
        """Ids of calls whose results a context shows otherwise than they were recorded."""
        found: list[str] = []
        for message in messages:
            call = self._calls.get(message.get("tool_call_id") or "") if message["role"] == "tool" else None
            if call is not None and call.has_result and call.shown != result_text(message):
                found.append(message["tool_call_id"])
        return found

    def _fields(self, turn_index: int, call_id: str | None, name: str | None) -> dict[str, Any]:
        call_index = self._result_counts[turn_index]
        self._result_counts[turn_index] += 1
        return {
            "turn_index": turn_index,
            "call_index": call_index,
            "tool_call_id": call_id,
            "tool_name": name,
        }

    def _expected(self) -> str:
        waiting = [call_id for call_id, call in self._calls.items() if not call.has_result]
        if not waiting:
            return "a call of this rollout; all of its calls have results"
        more = f" and {len(waiting) - _SHOWN_MAX} more" if len(waiting) > _SHOWN_MAX else ""
        return f"one of {', '.join(waiting[-_SHOWN_MAX:])}{more}"


def output_text(output: object) -> str | None:
    """Text of a tool's output; JSON of other values. Raises EventInvalidError."""
    if output is None:
        return None
    return well_formed(output) if isinstance(output, str) else canonical_text(output)


def well_formed(text: str) -> str:
    """The same text, with escapes for bytes that were decoded without being text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text
