"""Tool calls, put together from deltas.

**Arguments are kept as the text that came**: an object in the place of text is written as JSON, no arguments
at all are `{}`.
**A call that nobody could carry out is refused**: one without a name, or whose arguments are no JSON object.
"""

from __future__ import annotations

from typing import Any

import orjson

from tracelake.producers.calling.answer_shape import ToolCallError, label, text_in, well_formed

CALLS_MAX = 256


class _Call:
    def __init__(self, index: object) -> None:
        self.index = index
        self.call_id = ""
        self.name = ""
        self.arguments: list[str] = []

    def finished(self) -> dict[str, Any]:
        arguments = well_formed("".join(self.arguments)) or "{}"
        if not self.name:
            raise ToolCallError("a tool call without a name")
        try:
            is_object = isinstance(orjson.loads(arguments), dict)
        except orjson.JSONDecodeError as error:
            raise ToolCallError(f"arguments are no JSON: {error}") from error
        if not is_object:
            raise ToolCallError("arguments are no JSON object")
        function = {"name": well_formed(self.name), "arguments": arguments}
        return {"id": self.call_id, "type": "function", "function": function}


class ToolCallParts:
    """The calls of one message."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, part: Any) -> None:
        """Take a delta, or a whole call. Raises ToolCallError, AnswerShapeError."""
        function = part.get("function") if isinstance(part, dict) else None
        if not isinstance(function, dict):
            raise ToolCallError("a tool call without a function")
        call = self._call_of(part, function)
        call.call_id = call.call_id or label(part.get("id")) or ""
        call.name = call.name or text_in(function.get("name") or "")
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            call.arguments.append(arguments)
        elif arguments is not None:
            call.arguments.append(orjson.dumps(arguments).decode())

    def finished(self) -> list[dict[str, Any]]:
        """In OpenAI's shape, in the order in which they were begun. Raises ToolCallError."""
        return [call.finished() for call in self._calls]

    def said(self) -> str:
        return " ".join(f"{call.name}({''.join(call.arguments)})" for call in self._calls)

    def _call_of(self, part: dict[str, Any], function: dict[str, Any]) -> _Call:
        """The call that a delta goes on with, or a new one: some endpoints number calls wrongly or not."""
        index, call_id = part.get("index"), part.get("id")
        for call in reversed(self._calls):
            is_other = bool(call_id and call.call_id and call_id != call.call_id)
            if not is_other and (index == call.index if index is not None else not function.get("name")):
                return call
        if len(self._calls) == CALLS_MAX:
            raise ToolCallError(f"more than {CALLS_MAX} tool calls")
        call = _Call(index)
        self._calls.append(call)
        return call
