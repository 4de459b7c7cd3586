"""One answer, put together from the chunks of a stream or taken from a whole completion.

**A streamed answer and a whole one give the same message**, so that what is learnt from it does not depend
on how it came.
**Choices but the first are not read**: samples are asked for one by one, because each has a price of its own.
**What money hangs on is read first**, so that it is known even of an answer whose rest is refused.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import orjson

from tracelake.producers.calling.answer_shape import (
    AnswerShapeError,
    fields_in,
    label,
    list_in,
    shown,
    text_in,
    well_formed,
)
from tracelake.producers.calling.tool_call_parts import ToolCallParts
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.errors import EventInvalidError

USAGE_LENGTH_MAX = 16 * 2**10
_TEXTS = ("refusal", "reasoning", "reasoning_content")
_LISTS = ("reasoning_details", "annotations")
_PLAIN_DELTA = frozenset(("role", "content"))
"""What nearly all of many thousand chunks say, and nothing more."""
_PLAIN_CHOICE = frozenset(("index", "delta", "finish_reason", "native_finish_reason", "logprobs"))
_GROWING = ("text", "summary", "data")
"""Fields of a reasoning detail that come piece by piece."""


class TokenFacts(NamedTuple):
    """What an endpoint tells of each completion token; null where it is not whole."""

    completion_ids: list[int] | None
    logprobs: list[float] | None
    raw_top_logprobs: list[dict[str, Any]] | None


class AnswerParts:
    """What an endpoint has said so far."""

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
        self._calls = ToolCallParts()
        self._ids: list[Any] = []
        self._token_items: list[dict[str, Any]] = []

    @property
    def has_content(self) -> bool:
        return bool(self._content or self._calls or self._texts)

    def add(self, chunk: Any) -> None:
        """Take a chunk, or a whole completion. Raises AnswerShapeError."""
        if self._took_plain(chunk):
            return
        fields = fields_in(chunk, "an answer")
        self._add_labels(fields)
        if usage := fields.get("usage"):
            self.usage = _kept_usage(usage)
        if fields.get("error") or fields.get("object") == "error":
            self.error = fields.get("error") or fields
        for choice in list_in(fields.get("choices") or []):
            if not fields_in(choice, "a choice").get("index"):
                self._add_choice(choice)

    def message(self) -> dict[str, Any]:
        """The assistant message. Raises AnswerShapeError; ToolCallError for calls nobody could carry out."""
        message: dict[str, Any] = {"role": "assistant", "content": self._joined_content()}
        for name, parts in self._texts.items():
            message[name] = well_formed("".join(parts))
        if self._calls:
            message["tool_calls"] = self._calls.finished()
        for name, items in self._lists.items():
            message[name] = _merged(items)
        if self._lists or isinstance(message["content"], list):
            try:
                canonical_text(message)
            except EventInvalidError as error:
                raise AnswerShapeError("a part of the message has no canonical form") from error
        return message

    def said(self) -> str:
        """What came so far, for a reader of failures."""
        parts = {name: "".join(part) for name, part in self._texts.items()}
        content = "".join(part if isinstance(part, str) else shown(part) for part in self._content)
        parts = {"content": content, "tool_calls": self._calls.said(), **parts}
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

    def _took_plain(self, chunk: Any) -> bool:
        """Whether it was a piece of text with nothing new beside it, as nearly all of many thousand are."""
        if type(chunk) is not dict or not self.has_choice or chunk.get("model") != self.model_served:
            return False
        fields = cast("dict[str, Any]", chunk)
        choices: Any = fields.get("choices")
        if type(choices) is not list or len(choices) != 1 or not self._knows(fields):
            return False
        choice: Any = choices[0]
        if type(choice) is not dict or not _PLAIN_CHOICE.issuperset(choice):
            return False
        told = cast("dict[str, Any]", choice)
        delta = told.get("delta")
        if told.get("index") or told.get("finish_reason") or told.get("logprobs") or type(delta) is not dict:
            return False
        content = cast("dict[str, Any]", delta).get("content")
        if type(content) is not str or not content or not _PLAIN_DELTA.issuperset(delta):
            return False
        self._content.append(content)
        return True

    def _knows(self, fields: dict[str, Any]) -> bool:
        """Whether a chunk's own fields say nothing new."""
        return (
            self.response_id is not None
            and not fields.get("usage")
            and not fields.get("error")
            and fields.get("object") != "error"
            and (self.provider is not None or "provider" not in fields)
            and (self.system_fingerprint is not None or "system_fingerprint" not in fields)
        )

    def _add_labels(self, fields: dict[str, Any]) -> None:
        told = fields.get("model")
        # Every chunk names it again: most are done with by one comparison.
        if told != self.model_served and (model := label(told)) is not None:
            if self.model_served is None:
                self.model_served = model
            elif model != self.model_served:
                self.models_differ = True
        self.response_id = self.response_id or label(fields.get("id"))
        self.provider = self.provider or label(fields.get("provider"))
        self.system_fingerprint = self.system_fingerprint or label(fields.get("system_fingerprint"))

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
        if not delta.keys() <= _PLAIN_DELTA:
            self._add_more(delta)
        self._add_tokens(choice)

    def _add_more(self, delta: dict[str, Any]) -> None:
        """What a message may say beside its content."""
        for name in _TEXTS:
            if text := delta.get(name):
                self._texts.setdefault(name, []).append(text_in(text))
        for name in _LISTS:
            if items := delta.get(name):
                self._lists.setdefault(name, []).extend(list_in(items))
        if calls := delta.get("tool_calls"):
            for call in list_in(calls):
                self._calls.add(call)

    def _add_tokens(self, choice: dict[str, Any]) -> None:
        if ids := choice.get("token_ids"):
            self._ids.extend(list_in(ids))
        logprobs = choice.get("logprobs")
        listed = logprobs.get("content") if isinstance(logprobs, dict) else None
        if isinstance(listed, list):
            self._token_items.extend(item if isinstance(item, dict) else {} for item in listed)

    def _joined_content(self) -> str | list[Any] | None:
        if all(isinstance(part, str) for part in self._content):
            return well_formed("".join(self._content)) if self._content else None
        parts: list[Any] = []
        for piece in self._content:
            parts.extend(piece if isinstance(piece, list) else [{"type": "text", "text": piece}])
        return parts


def _merged(items: list[Any]) -> list[Any]:
    """The pieces of a stream as whole items: one with the index and type of the last goes on with it."""
    groups: list[list[Any]] = []
    for piece in items:
        if groups and _goes_on(piece, groups[-1][0]):
            groups[-1].append(piece)
        else:
            groups.append([piece])
    return [group[0] if len(group) == 1 else _item(group) for group in groups]


def _goes_on(piece: Any, first: Any) -> bool:
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


def _kept_usage(usage: Any) -> dict[str, Any]:
    """The usage as told; one that is no object, or an unreasonable one, under a key that no reader knows."""
    try:
        if isinstance(usage, dict) and len(orjson.dumps(usage)) <= USAGE_LENGTH_MAX:
            return cast("dict[str, Any]", usage)
    except TypeError:
        pass
    return {"unreadable": shown(usage)}
