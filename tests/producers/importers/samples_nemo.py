"""Small lines of NeMo Gym, as its rollout collection writes them, and items of the Responses API."""

from __future__ import annotations

from typing import Any

TOOL = {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": True}


def text_item(text: str, role: str = "assistant", **keys: Any) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": None}
    return {"id": "msg-1", "type": "message", "role": role, "status": "completed", "content": [part], **keys}


def call_item(call_id: str = "c1", **keys: Any) -> dict[str, Any]:
    call = {"type": "function_call", "id": "fc-1", "call_id": call_id, "name": "look", "status": "completed"}
    return {**call, "arguments": '{"at": "x"}', **keys}


def result_item(call_id: str = "c1", output: Any = "a door") -> dict[str, Any]:
    return {"type": "function_call_output", "id": None, "call_id": call_id, "output": output, "status": None}


def reasoning_item(text: str, **keys: Any) -> dict[str, Any]:
    summary = [{"type": "summary_text", "text": text}]
    return {"type": "reasoning", "id": "rs-1", "summary": summary, "encrypted_content": None, **keys}


def response(output: list[dict[str, Any]], **keys: Any) -> dict[str, Any]:
    usage = {
        "input_tokens": 40,
        "input_tokens_details": {"cached_tokens": 8},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 45,
    }
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1784946181.0,
        "model": "qwen3",
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "output": output,
        "usage": usage,
        "tools": [],
        "temperature": 0.7,
        **keys,
    }


def nemo_line(**keys: Any) -> dict[str, Any]:
    """Two calls with a tool result between them; the second with token ids."""
    prior = [
        {"type": "message", "role": "system", "content": "You look."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Look!"}]},
        call_item("c0"),
        result_item("c0", "dark"),
    ]
    ids = {"prompt_token_ids": [1, 2], "generation_token_ids": [3, 4], "generation_log_probs": [-0.5, -0.25]}
    output = [
        reasoning_item("First look."),
        call_item(),
        result_item(),
        text_item("A door.", routed_experts=None, **ids),
    ]
    return {
        "responses_create_params": {
            "input": prior,
            "instructions": "Be brief.",
            "model": None,
            "tools": [TOOL],
            "temperature": 0.7,
            "metadata": {"instance_id": "astropy__astropy-1"},
            "parallel_tool_calls": True,
        },
        "response": response(output),
        "reward": 1,
        "resolved": True,
        "model_patch": "diff --git a/x b/x\n+1\n",
        "judge_evaluations": [{"text": "good", "passed": True}],
        "_ng_task_index": 3,
        "_ng_rollout_index": 1,
        "agent_ref": {"type": "responses_api_agents", "name": "looker"},
        **keys,
    }
