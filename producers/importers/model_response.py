"""What a recorded model response says beside its message: names, tokens, cost, ends, token ids.

Two shapes are read: OpenAI's chat completions as litellm dumps them, and OpenAI's Responses.

**A value that the response lacks is null, never 0**: an empty list of token ids says nothing, and no tokens
for a reply that is not empty is a recorder's gap.
"""

from __future__ import annotations

from typing import Any, cast

from tracelake.producers.importers.fields import integer, logprobs, mapping, sequence, text, token_ids
from tracelake.schemas.message import Message

_CUT_BY = {"length": "max_tokens", "max_output_tokens": "max_tokens", "content_filter": "content_filter"}
_NOT_CUT = ("stop", "tool_calls", "function_call", "completed")


def completion_fields(response: dict[str, Any]) -> dict[str, Any]:
    """Fields of TurnCompleted from a chat completion."""
    if not response:
        return {}
    choices = response.get("choices")
    choice = mapping(choices[0], "choices") if choices else {}
    usage = mapping(response.get("usage"), "usage")
    fields = _fields(response, usage, "prompt_tokens", "completion_tokens", choice.get("finish_reason"))
    if not fields["completion_token_count"] and _says_something(choice.get("message")):
        fields["completion_token_count"] = None
    if "prompt_token_ids" in response or "token_ids" in choice or choice.get("provider_specific_fields"):
        fields |= _tokens(response, choice)
    return fields


def response_fields(response: dict[str, Any]) -> dict[str, Any]:
    """Fields of TurnCompleted from a response of the Responses API."""
    if not response:
        return {}
    details = mapping(response.get("incomplete_details"), "incomplete_details")
    reason = details.get("reason") or response.get("status")
    return _fields(response, mapping(response.get("usage"), "usage"), "input_tokens", "output_tokens", reason)


def response_message(response: dict[str, Any]) -> Message:
    """The assistant message in the output items of a response."""
    spoken: list[str] = []
    reasoned: list[str] = []
    calls: list[Message] = []
    for item in sequence(response.get("output"), "output"):
        kind = item.get("type")
        if kind == "message":
            spoken += _texts(item.get("content"))
        elif kind == "reasoning":
            reasoned += _texts(item.get("summary")) + _texts(item.get("content"))
        elif kind == "function_call":
            call_id = text(item.get("call_id") or item.get("id"), "call_id")
            function = {
                "name": text(item.get("name"), "name"),
                "arguments": text(item.get("arguments"), "arguments") or "{}",
            }
            calls.append({"id": call_id, "type": "function", "function": function})
    message: Message = {"role": "assistant", "content": "".join(spoken) if spoken else None}
    if calls:
        message["tool_calls"] = calls
    if reasoned:
        message["reasoning_content"] = "\n".join(reasoned)
    return message


def _fields(
    response: dict[str, Any], usage: dict[str, Any], read: str, written: str, end: object
) -> dict[str, Any]:
    """What both shapes say, under their own names for tokens read and written."""
    finish_reason = text(end, "finish_reason")
    reading, writing = usage.get(f"{read}_details"), usage.get(f"{written}_details")
    cached = mapping(reading, "usage details").get("cached_tokens") if reading else None
    reasoned = mapping(writing, "usage details").get("reasoning_tokens") if writing else None
    return {
        "model_served": text(response.get("model"), "response.model"),
        "response_id": text(response.get("id"), "response.id"),
        "system_fingerprint": text(response.get("system_fingerprint"), "system_fingerprint"),
        "finish_reason": finish_reason,
        "truncated": True if finish_reason in _CUT_BY else False if finish_reason in _NOT_CUT else None,
        "truncated_by": _CUT_BY.get(finish_reason or ""),
        "prompt_token_count": integer(usage.get(read), read),
        "cached_token_count": integer(
            usage.get("prompt_cache_hit_tokens") if cached is None else cached, "cached_tokens"
        ),
        "completion_token_count": integer(usage.get(written), written),
        "reasoning_token_count": integer(reasoned, "reasoning_tokens"),
    }


def _tokens(response: dict[str, Any], choice: dict[str, Any]) -> dict[str, Any]:
    """Token ids where a vLLM server put them, and the logprobs that belong to them, one for each or none."""
    extra = mapping(choice.get("provider_specific_fields"), "provider_specific_fields")
    written = token_ids(choice.get("token_ids") or extra.get("token_ids"), "token_ids")
    read = token_ids(response.get("prompt_token_ids"), "prompt_token_ids")
    if written is None:
        return {"prompt_ids": read} if read else {}
    found = mapping(choice.get("logprobs"), "logprobs")
    sampled = logprobs(
        [item.get("logprob") for item in sequence(found.get("content"), "logprobs")], "logprobs"
    )
    fields: dict[str, Any] = {"prompt_ids": read, "completion_ids": written}
    if sampled and len(sampled) == len(written):
        fields.update(sampling_logprobs=sampled, logprob_source="sampler")
    return fields


def _says_something(message: object) -> bool:
    said = mapping(message, "message")
    return bool(said.get("content") or said.get("tool_calls"))


def _texts(parts: object) -> list[str]:
    if isinstance(parts, str):
        return [parts]
    found = (part.get("text") for part in cast("list[Any]", sequence(parts, "content")))
    return [said for said in found if isinstance(said, str)]
