"""Small files of responses: batches of OpenAI and of Anthropic, bare responses, a log with requests."""

from __future__ import annotations

from typing import Any

from tests.producers.importers.samples_nemo import (
    TOOL,
    call_item,
    reasoning_item,
    response,
    result_item,
    text_item,
)


def batch_lines() -> list[dict[str, Any]]:
    """An answer, and a request that failed."""
    body = response([reasoning_item("Hm.", encrypted_content="gAAAA"), text_item("Yes.")], id="resp_b1")
    failed = {"error": {"message": "too long", "type": "invalid_request_error"}}
    return [
        {
            "id": "batch_req_1",
            "custom_id": "question-1",
            "response": {"status_code": 200, "request_id": "req-1", "body": body},
            "error": None,
        },
        {
            "id": "batch_req_2",
            "custom_id": "question-2",
            "response": {"status_code": 400, "request_id": "req-2", "body": failed},
            "error": None,
        },
    ]


def anthropic_lines() -> list[dict[str, Any]]:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4",
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
            {"type": "text", "text": "Yes."},
            {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "x"}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 30, "output_tokens": 5},
    }
    return [
        {"custom_id": "question-1", "result": {"type": "succeeded", "message": message}},
        {"custom_id": "question-2", "result": {"type": "expired"}},
    ]


def logged_calls() -> list[dict[str, Any]]:
    """Two calls, the second of which names the first."""
    first = {
        "model": "gpt-5",
        "input": "Look!",
        "instructions": "Be brief.",
        "tools": [TOOL],
        "temperature": 1,
    }
    asked = [result_item("c1", "a door")]
    then = {**first, "previous_response_id": "resp_1", "input": asked}
    return [
        {"request": first, "response": response([call_item()], id="resp_1")},
        {
            "request": then,
            "response": response([text_item("A door.")], id="resp_2", previous_response_id="resp_1"),
        },
    ]


def bare_responses() -> list[dict[str, Any]]:
    return [response([text_item("One.")], id="resp_a"), response([text_item("Two.")], id="resp_b")]
