"""A streamed chat completion as the whole completion that it amounts to.

**Pieces are joined and nothing is checked**: arguments that are no JSON are what the model said.
**Chunks are collected while they pass, and read when the stream ends**, so that no token waits for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from pydantic import BaseModel

_SET_ONCE = ("role", "id", "type", "name")
_LAST_WINS = ("finish_reason", "stop_reason", "index")


def fields_of(value: Any) -> dict[str, Any]:
    """Fields of one object, those that its class does not know included; nulls are left out."""
    if isinstance(value, BaseModel):
        found = {**value.__dict__, **(value.__pydantic_extra__ or {})}
    else:
        found = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    return {key: item for key, item in found.items() if item is not None}


def plain(value: Any) -> Any:
    """JSON values of an answer of the OpenAI client; nulls of objects are left out."""
    if isinstance(value, (BaseModel, dict)):
        return {key: plain(item) for key, item in fields_of(value).items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in cast("list[Any]", value)]
    return value


def whole_completion(chunks: Iterable[Any]) -> dict[str, Any]:
    """The completion of these chunks; without `choices` if no chunk had one."""
    whole: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for key, value in fields_of(chunk).items():
            if key == "choices":
                for choice in value:
                    _add_choice(choices, fields_of(choice))
            elif key == "usage" or key not in whole:
                whole[key] = plain(value)
    whole["object"] = "chat.completion"
    if choices:
        whole["choices"] = [choices[index] for index in sorted(choices)]
    return whole


def _add_choice(choices: dict[int, dict[str, Any]], piece: dict[str, Any]) -> None:
    index = piece.get("index", 0)
    choice = choices.setdefault(index, {"index": index, "message": {"role": "assistant", "content": None}})
    for key, value in piece.items():
        if key == "delta":
            _add_delta(choice["message"], fields_of(value))
        elif key == "logprobs":
            logprobs = choice.setdefault("logprobs", {})
            for name, items in fields_of(value).items():
                logprobs.setdefault(name, []).extend(plain(items))
        else:
            _join(choice, key, value)


def _add_delta(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for key, value in delta.items():
        if key == "tool_calls":
            for call in value:
                _add_call(message.setdefault("tool_calls", []), fields_of(call))
        elif key == "function_call":
            _add_pieces(message.setdefault("function_call", {}), fields_of(value))
        else:
            _join(message, key, value)


def _add_call(calls: list[dict[str, Any]], piece: dict[str, Any]) -> None:
    index = piece.pop("index", None)
    position = len(calls) - 1 if index is None else index
    call = next((each for each in calls if each["index"] == position), None)
    if call is None or (index is None and piece.get("id")):
        # Some servers number no call: then an id begins the next one.
        call = {"index": len(calls) if index is None else index, "type": "function", "function": {}}
        calls.append(call)
    _add_pieces(call["function"], fields_of(piece.pop("function", {})))
    _add_pieces(call, piece)


def _add_pieces(whole: dict[str, Any], piece: dict[str, Any]) -> None:
    for key, value in piece.items():
        _join(whole, key, value)


def _join(whole: dict[str, Any], key: str, value: Any) -> None:
    """Texts and lists grow; of everything else the last value counts."""
    before = whole.get(key)
    if value == "":
        # Streams begin with an empty text where a whole answer has none.
        return
    if isinstance(value, str) and isinstance(before, str) and key not in _LAST_WINS:
        if key not in _SET_ONCE:
            whole[key] = before + value
    elif isinstance(value, list) and isinstance(before, list):
        before.extend(plain(value))
    else:
        whole[key] = plain(value)
