"""One answer, assembled from the chunks of a stream or taken from a whole completion.

**A streamed answer and a whole one give the same message**, so training data does not depend on the
transport.
**Only the first choice is read**: samples are requested one by one, because each has a price.
**Usage and ids are read first**, so they are known even if the rest of an answer is refused.
**A tool call that cannot be executed is refused**: one without a name, or whose arguments are no JSON
object.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import orjson

from tracelake.producers.calling.answer_shape import (
    AnswerShapeError,
    ToolCallError,
    fields_in,
    label,
    list_in,
    shown,
    text_in,
    well_formed,
)
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.errors import EventInvalidError

USAGE_LENGTH_MAX = 16 * 2**10
CALLS_MAX = 256
_TEXTS = ("refusal", "reasoning", "reasoning_content")
_LISTS = ("reasoning_details", "annotations")
_GROWING = ("text", "summary", "data")
"""Fields of a reasoning detail that come piece by piece."""


class TokenFacts(NamedTuple):
    """Facts of each completion token; null where a token lacks one."""

    completion_ids: list[int] | None
    logprobs: list[float] | None
    raw_top_logprobs: list[dict[str, Any]] | None


class AnswerParts:
    """The part of an answer that was read so far."""

    def __init__(self) -> None:
        self.response_id: str | None = None
        self.model_served: str | None = None
        self.models_differ = False
        self.provider: str | None = None
        self.system_fingerprint: str | None = None
        self.finish_reason: str | None = None
        self.native_finish_reason: str | None = None
        self.usage: dict[str, Any] | None = None
        self.error: object = None
        self.has_choice = False
        self._content: list[Any] = []
        self._texts: dict[str, list[str]] = {}
        self._lists: dict[str, list[Any]] = {}
        self._calls: list[_ToolCall] = []
        self._ids: list[Any] = []
        self._token_items: list[dict[str, Any]] = []

    @property
    def has_content(self) -> bool:
        return bool(self._content or self._calls or self._texts)

    def add(self, chunk: Any) -> None:
        """Take a chunk, or a whole completion. Raises AnswerShapeError."""
        fields = fields_in(chunk, "an answer")
        model = label(fields.get("model"))
        self.models_differ = self.models_differ or (
            None not in (model, self.model_served) and (model != self.model_served)
        )
        self.model_served = self.model_served or model
        self.response_id = self.response_id or label(fields.get("id"))
        self.provider = self.provider or label(fields.get("provider"))
        self.system_fingerprint = self.system_fingerprint or label(fields.get("system_fingerprint"))
        if usage := fields.get("usage"):
            self.usage = _readable_usage(usage)
        if fields.get("error") or fields.get("object") == "error":
            self.error = fields.get("error") or fields
        for choice in list_in(fields.get("choices") or []):
            if not fields_in(choice, "a choice").get("index"):
                self._add_choice(choice)

    def message(self) -> dict[str, Any]:
        """The assistant message. Raises AnswerShapeError; ToolCallError for calls that cannot be executed."""
        message: dict[str, Any] = {"role": "assistant", "content": self._joined_content()}
        for name, parts in self._texts.items():
            message[name] = well_formed("".join(parts))
        if self._calls:
            message["tool_calls"] = [call.message_part() for call in self._calls]
        for name, items in self._lists.items():
            message[name] = _merged(items)
        if self._lists or isinstance(message["content"], list):
            try:
                canonical_text(message)
            except EventInvalidError as error:
                raise AnswerShapeError("a part of the message has no canonical form") from error
        return message

    def text_so_far(self) -> str:
        """The content for the detail of a failure."""
        content = "".join(part if isinstance(part, str) else shown(part) for part in self._content)
        calls = " ".join(f"{call.name}({''.join(call.arguments)})" for call in self._calls)
        texts = {name: "".join(part) for name, part in self._texts.items()}
        parts = {"content": content, "tool_calls": calls, **texts}
        return " ".join(f"{name}: {text}" for name, text in parts.items() if text)

    def tokens(self) -> TokenFacts:
        ids: list[Any] = self._ids or [item.get("id") for item in self._token_items]
        whole_ids = ids if ids and all(type(each) is int and 0 <= each < 2**31 for each in ids) else None
        logprobs: list[Any] = [item.get("logprob") for item in self._token_items]
        is_whole = bool(logprobs) and all(type(each) in (int, float) and -1e9 < each < 1 for each in logprobs)
        if whole_ids is not None and len(whole_ids) != len(logprobs):
            is_whole = False
        return TokenFacts(
            whole_ids, [float(each) for each in logprobs] if is_whole else None, self._alternatives()
        )

    def _alternatives(self) -> list[dict[str, Any]] | None:
        if not any(item.get("top_logprobs") for item in self._token_items):
            return None
        try:
            orjson.dumps(self._token_items)
        except TypeError:
            # Half of a surrogate pair, which no store takes.
            return None
        return self._token_items

    def _add_choice(self, choice: dict[str, Any]) -> None:
        self.has_choice = True
        if self.finish_reason is None and choice.get("finish_reason"):
            self.finish_reason = label(choice["finish_reason"])
            self.native_finish_reason = label(choice.get("native_finish_reason"))
        if choice.get("error"):
            self.error = choice["error"]
        delta = fields_in(choice.get("delta") or choice.get("message") or {}, "a message")
        if content := delta.get("content"):
            self._content.append(content if isinstance(content, list) else text_in(content))
        for name in _TEXTS:
            if text := delta.get(name):
                self._texts.setdefault(name, []).append(text_in(text))
        for name in _LISTS:
            if items := delta.get(name):
                self._lists.setdefault(name, []).extend(list_in(items))
        if calls := delta.get("tool_calls"):
            for call in list_in(calls):
                self._add_call(call)
        if ids := choice.get("token_ids"):
            self._ids.extend(list_in(ids))
        logprobs = choice.get("logprobs")
        items = logprobs.get("content") if isinstance(logprobs, dict) else None
        if isinstance(items, list):
            self._token_items.extend(item if isinstance(item, dict) else {} for item in items)

    def _add_call(self, part: Any) -> None:
        """Take a delta of a tool call, or a whole one."""
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
            try:
                call.arguments.append(orjson.dumps(arguments).decode())
            except TypeError as error:
                raise ToolCallError(f"arguments have no JSON form: {error}") from error

    def _call_of(self, part: dict[str, Any], function: dict[str, Any]) -> _ToolCall:
        """The call that a delta continues, or a new one: some endpoints number calls wrongly."""
        index, call_id = part.get("index"), part.get("id")
        for call in reversed(self._calls):
            is_other = bool(call_id and call.call_id and call_id != call.call_id)
            if not is_other and (index == call.index if index is not None else not function.get("name")):
                return call
        if len(self._calls) == CALLS_MAX:
            raise ToolCallError(f"more than {CALLS_MAX} tool calls")
        call = _ToolCall(index)
        self._calls.append(call)
        return call

    def _joined_content(self) -> str | list[Any] | None:
        if all(isinstance(part, str) for part in self._content):
            return well_formed("".join(self._content)) if self._content else None
        parts: list[Any] = []
        for piece in self._content:
            parts.extend(piece if isinstance(piece, list) else [{"type": "text", "text": piece}])
        return parts


class _ToolCall:
    """The part of a tool call that was read so far. Its arguments stay the text that came."""

    def __init__(self, index: object) -> None:
        self.index = index
        self.call_id = ""
        self.name = ""
        self.arguments: list[str] = []

    def message_part(self) -> dict[str, Any]:
        """The call in OpenAI's shape; no arguments at all are `{}`. Raises ToolCallError."""
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


def _merged(items: list[Any]) -> list[Any]:
    """Whole items from pieces: one with the index and type of the last one continues it."""
    groups: list[list[Any]] = []
    for piece in items:
        if groups and _continues(piece, groups[-1][0]):
            groups[-1].append(piece)
        else:
            groups.append([piece])
    return [group[0] if len(group) == 1 else _item(group) for group in groups]


def _continues(piece: Any, first: Any) -> bool:
    if not isinstance(piece, dict) or not isinstance(first, dict) or piece.get("index") is None:
        return False
    return (piece["index"], piece.get("type")) == (first.get("index"), first.get("type"))


def _item(pieces: list[dict[str, Any]]) -> dict[str, Any]:
    item: dict[str, Any] = {}
    for piece in pieces:
        item |= {key: value for key, value in piece.items() if value is not None or key not in item}
    for key in _GROWING:
        if key in item:
            item[key] = "".join(part for piece in pieces if isinstance(part := piece.get(key), str))
    return item


def _readable_usage(usage: Any) -> dict[str, Any]:
    """The usage as it came; one that is no object, or is too large, under a key that no reader knows."""
    try:
        if isinstance(usage, dict) and len(orjson.dumps(usage)) <= USAGE_LENGTH_MAX:
            return cast("dict[str, Any]", usage)
    except TypeError:
        pass
    return {"unreadable": shown(usage)}
