"""Fields of TurnCompleted from a recorded model response: model names, token counts, finish reason, token
ids.

Two shapes are read: OpenAI's chat completions as litellm dumps them, and OpenAI's Responses.

**A value that the response lacks is null, never 0**: an empty list of token ids counts as missing, and so
does a count of 0 tokens for a reply that is not empty.
"""

from __future__ import annotations

from typing import Any, cast

from tracelake.producers.importers.conversion.fields import (
    integer,
    logprobs,
    mapping,
    sequence,
    text,
    token_ids,
)
from tracelake.schemas.message import Message

# By finish reason.
_TRUNCATED_BY = {
    "length": "max_tokens",
    "max_output_tokens": "max_tokens",
    "content_filter": "content_filter",
}
_NOT_TRUNCATED = ("stop", "tool_calls", "function_call", "completed")


def completion_fields(response: dict[str, Any]) -> dict[str, Any]:
    """Fields of TurnCompleted from a chat completion."""
    if not response:
        return {}
    choices = response.get("choices")
    choice = mapping(choices[0], "choices") if choices else {}
    usage = mapping(response.get("usage"), "usage")
    fields = _fields(response, usage, "prompt_tokens", "completion_tokens", choice.get("finish_reason"))
    if not fields["completion_token_count"]:
        message = mapping(choice.get("message"), "message")
        if message.get("content") or message.get("tool_calls"):
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
    reasoning: list[str] = []
    calls: list[Message] = []
    for item in sequence(response.get("output"), "output"):
        kind = item.get("type")
        if kind == "message":
            spoken += _texts(item.get("content"))
        elif kind == "reasoning":
            reasoning += _texts(item.get("summary")) + _texts(item.get("content"))
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
    if reasoning:
        message["reasoning_content"] = "\n".join(reasoning)
    return message


def _fields(
    response: dict[str, Any],
    usage: dict[str, Any],
    prompt_name: str,
    completion_name: str,
    finish_reason: object,
) -> dict[str, Any]:
    """The fields that both shapes have, each with its own names for the token counts."""
    reason = text(finish_reason, "finish_reason")
    prompt_details, completion_details = (
        usage.get(f"{prompt_name}_details"),
        usage.get(f"{completion_name}_details"),
    )
    cached = mapping(prompt_details, "usage details").get("cached_tokens") if prompt_details else None
    reasoned = (
        mapping(completion_details, "usage details").get("reasoning_tokens") if completion_details else None
    )
    return {
        "model_served": text(response.get("model"), "response.model"),
        "response_id": text(response.get("id"), "response.id"),
        "system_fingerprint": text(response.get("system_fingerprint"), "system_fingerprint"),
        "finish_reason": reason,
        "truncated": True if reason in _TRUNCATED_BY else False if reason in _NOT_TRUNCATED else None,
        "truncated_by": _TRUNCATED_BY.get(reason or ""),
        "prompt_token_count": integer(usage.get(prompt_name), prompt_name),
        "cached_token_count": integer(
            usage.get("prompt_cache_hit_tokens") if cached is None else cached, "cached_tokens"
        ),
        "completion_token_count": integer(usage.get(completion_name), completion_name),
        "reasoning_token_count": integer(reasoned, "reasoning_tokens"),
    }


def _tokens(response: dict[str, Any], choice: dict[str, Any]) -> dict[str, Any]:
    """Token ids where a vLLM server writes them, with their logprobs if there is one for each."""
    extra = mapping(choice.get("provider_specific_fields"), "provider_specific_fields")
    completion_ids = token_ids(choice.get("token_ids") or extra.get("token_ids"), "token_ids")
    prompt_ids = token_ids(response.get("prompt_token_ids"), "prompt_token_ids")
    if completion_ids is None:
        return {"prompt_ids": prompt_ids} if prompt_ids else {}
    found = mapping(choice.get("logprobs"), "logprobs")
    sampled = logprobs(
        [item.get("logprob") for item in sequence(found.get("content"), "logprobs")], "logprobs"
    )
    fields: dict[str, Any] = {"prompt_ids": prompt_ids, "completion_ids": completion_ids}
    if sampled and len(sampled) == len(completion_ids):
        fields.update(sampling_logprobs=sampled, logprob_source="sampler")
    return fields


def _texts(parts: object) -> list[str]:
    if isinstance(parts, str):
        return [parts]
    found = (part.get("text") for part in cast("list[Any]", sequence(parts, "content")))
    return [each for each in found if isinstance(each, str)]
