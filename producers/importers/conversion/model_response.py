"""Fields of TurnCompleted from a recorded model response: model names, token counts, finish reason, token
ids.

Two shapes are read: OpenAI's chat completions as litellm dumps them, and OpenAI's Responses.

**A value that the response lacks is null, never 0**: an empty list of token ids counts as missing, and so
does a count of 0 tokens for a reply that is not empty.
**What repeats another field is dropped, and everything else stays in the rest of the record.**
"""

from __future__ import annotations

from typing import Any

from tracelake.producers.importers.conversion.fields import logprobs, mapping, sequence, token_ids
from tracelake.producers.importers.conversion.record import Record
from tracelake.producers.importers.conversion.responses import items_message
from tracelake.schemas.message import Message

# By finish reason.
_TRUNCATED_BY = {
    "length": "max_tokens",
    "max_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "model_length": "context_window",
    "content_filter": "content_filter",
}
_NOT_TRUNCATED = ("stop", "tool_calls", "function_call", "completed", "end_turn", "tool_use", "stop_sequence")
MESSAGE_KEYS = (
    "role", "content", "tool_calls", "function_call", "refusal", "annotations", "audio", "images",
    "reasoning", "reasoning_content", "reasoning_details", "thinking_blocks", "provider_specific_fields",
)  # fmt: skip
# Keys that servers are known to add; no field holds them.
_KNOWN = ("service_tier", "provider", "kv_transfer_params", "citations", "_hidden_params")
_KNOWN_OF_CHOICE = ("stop_reason", "matched_stop", "native_finish_reason", "error")
_KNOWN_OF_USAGE = (
    "audio_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens", "text_tokens", "image_tokens",
    "video_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "cost_details", "is_byok",
    "server_tool_use", "inference_geo", "speed", "iterations", "cache_creation",
    "cache_write_tokens", "cache_creation_tokens", "cache_creation_token_details",
)  # fmt: skip


def finish_fields(reason: str | None) -> dict[str, Any]:
    """`finish_reason`, `truncated` and `truncated_by` of a provider's finish reason."""
    return {
        "finish_reason": reason,
        "truncated": True if reason in _TRUNCATED_BY else False if reason in _NOT_TRUNCATED else None,
        "truncated_by": _TRUNCATED_BY.get(reason or ""),
    }


def completion_fields(response: Record, recorded: dict[str, Any] | None = None) -> dict[str, Any]:
    """Fields of TurnCompleted from a chat completion. `recorded` is the message of the reply as the source
    states it elsewhere; the response's copy of it is left out where it is equal.

    `cost_usd` and `occurred_at` are those of the response; a source that states them itself overwrites
    them."""
    if not response.source:
        return {}
    choices = response.records("choices")
    choice = choices[0] if choices else Record({}, "choices[]", response.losses)
    message = choice.record("message")
    if recorded is not None:
        same = [key for key, value in message.source.items() if recorded.get(key) == value]
        message.has_read(*same)
        message.keep(*MESSAGE_KEYS)
    fields = _fields(response, "prompt_tokens", "completion_tokens", choice.text("finish_reason"))
    if not fields["completion_token_count"]:
        spoken = message.source
        if spoken.get("content") or spoken.get("tool_calls"):
            fields["completion_token_count"] = None
    choice.has_read("index")
    choice.keep(*_KNOWN_OF_CHOICE)
    _add_tokens(fields, response, choice)
    return fields


def response_fields(response: Record) -> dict[str, Any]:
    """Fields of TurnCompleted from a response of the Responses API."""
    if not response.source:
        return {}
    reason = response.record("incomplete_details").text("reason") or response.text("status")
    fields = _fields(response, "input_tokens", "output_tokens", reason)
    response.keep(
        "error", "instructions", "metadata", "temperature", "top_p", "tool_choice", "parallel_tool_calls",
        "max_output_tokens", "previous_response_id", "reasoning", "text", "truncation", "user", "store",
        "background", "conversation", "max_tool_calls", "prompt", "prompt_cache_key", "safety_identifier",
        "top_logprobs", "status", "incomplete_details", "billing", "completed_at", "frequency_penalty",
        "presence_penalty", "prompt_cache_retention", "moderation", "output_text",
    )  # fmt: skip
    response.drop("as in the rollout's start", "tools")
    return fields


def response_message(response: Record) -> Message:
    """The assistant message in the output items of a response."""
    return items_message(response.records("output"))


def _fields(response: Record, prompt: str, completion: str, finish_reason: str | None) -> dict[str, Any]:
    """The fields that both shapes have; `prompt` and `completion` are their names of the token counts."""
    usage = response.record("usage")
    prompt_details = usage.record(f"{prompt}_details")
    completion_details = usage.record(f"{completion}_details")
    cached = prompt_details.integer("cached_tokens")
    cache_hit = usage.integer("prompt_cache_hit_tokens")
    fields = {
        "model_served": response.text("model"),
        "response_id": response.text("id"),
        "system_fingerprint": response.text("system_fingerprint"),
        **finish_fields(finish_reason),
        "prompt_token_count": usage.integer(prompt),
        "cached_token_count": cache_hit if cached is None else cached,
        "completion_token_count": usage.integer(completion),
        "reasoning_token_count": completion_details.integer("reasoning_tokens"),
        "cost_usd": usage.number("cost"),
        "occurred_at": response.moment("created") or response.moment("created_at"),
    }
    usage.has_read("total_tokens", "prompt_cache_miss_tokens")
    for record in (usage, prompt_details, completion_details):
        record.keep(*_KNOWN_OF_USAGE)
    response.has_read("object")
    response.drop("repeated with every prompt", "prompt_logprobs")
    response.keep(*_KNOWN)
    return fields


def _add_tokens(fields: dict[str, Any], response: Record, choice: Record) -> None:
    """Token ids where a vLLM server writes them, with their logprobs if there is one for each."""
    extra = choice.record("provider_specific_fields")
    sampled_ids = choice.take("token_ids") or extra.take("token_ids")
    completion_ids = token_ids(sampled_ids, "token_ids")
    prompt_ids = token_ids(
        response.take("prompt_token_ids") or choice.take("prompt_token_ids"), "prompt_token_ids"
    )
    if prompt_ids:
        fields["prompt_ids"] = prompt_ids
    choice.keep("logprobs")
    if completion_ids is None:
        return
    fields["completion_ids"] = completion_ids
    found = mapping(choice.source.get("logprobs"), "logprobs")
    items = [mapping(item, "logprobs") for item in sequence(found.get("content"), "logprobs")]
    sampled = logprobs([item.get("logprob") for item in items], "logprobs")
    if sampled and len(sampled) == len(completion_ids):
        fields.update(sampling_logprobs=sampled, logprob_source="sampler")
        if not any(item.get("top_logprobs") for item in items) and found.keys() <= {"content", "refusal"}:
            choice.drop("the tokens' texts follow from their ids", "logprobs")
