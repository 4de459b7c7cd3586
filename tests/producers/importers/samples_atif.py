"""Small ATIF documents of several versions, as harbor's agents write them."""

from __future__ import annotations

from typing import Any


def first_call() -> dict[str, Any]:
    """An entry with token ids, parallel calls and their results."""
    call = {"tool_call_id": "c1", "function_name": "bash", "arguments": {"command": "ls"}, "extra": {"ui": 1}}
    other = {"tool_call_id": "c2", "function_name": "read", "arguments": {}}
    return {
        "step_id": 3,
        "source": "agent",
        "timestamp": "2026-01-02T03:04:05Z",
        "model_name": "openai/gpt-4o-mini",
        "reasoning_effort": "low",
        "message": "I look.",
        "reasoning_content": "First look.",
        "tool_calls": [call, other],
        "observation": {
            "results": [
                {"source_call_id": "c1", "content": "a.txt", "extra": {"exit": 0}},
                {
                    "source_call_id": "c2",
                    "content": None,
                    "subagent_trajectory_ref": [{"trajectory_id": "trajectory-2"}],
                },
            ]
        },
        "metrics": {
            "prompt_tokens": 10,
            "completion_tokens": 2,
            "cached_tokens": 4,
            "cost_usd": 0.5,
            "prompt_token_ids": [1, 2, 3],
            "completion_token_ids": [4, 5],
            "logprobs": [-0.5, -0.25],
            "extra": {"engine": "vllm"},
        },
        "llm_call_count": 1,
        "extra": {"note": "first"},
    }


def atif() -> dict[str, Any]:
    """1.8: a call with token ids, parallel calls, a subagent, copied context."""
    definitions = [{"type": "function", "function": {"name": "bash", "parameters": {}}}]
    return {
        "schema_version": "ATIF-v1.8",
        "session_id": "session-1",
        "trajectory_id": "trajectory-1",
        "agent": {
            "name": "terminus-2",
            "version": "2.0.0",
            "model_name": "openai/gpt-4o",
            "tool_definitions": definitions,
            "extra": {"parser": "json"},
        },
        "steps": [
            {"step_id": 1, "source": "system", "message": "You use a shell."},
            {"step_id": 2, "source": "user", "message": [{"type": "text", "text": "Say hello."}]},
            first_call(),
            {"step_id": 4, "source": "agent", "message": "Hello.", "metrics": {"cost_usd": None}},
        ],
        "notes": "A note.",
        "final_metrics": {
            "total_prompt_tokens": 10,
            "total_completion_tokens": 2,
            "total_cached_tokens": 4,
            "total_cost_usd": 0.5,
            "total_steps": 4,
            "extra": {"wall_s": 3},
        },
        "continued_trajectory_ref": "trajectory.cont-1.json",
        "extra": {"trial": "t1"},
        "subagent_trajectories": [
            {
                "schema_version": "ATIF-v1.8",
                "session_id": "session-1",
                "trajectory_id": "trajectory-2",
                "agent": {"name": "reader", "version": "1"},
                "steps": [
                    {"step_id": 1, "source": "user", "message": "Read it."},
                    {"step_id": 2, "source": "agent", "message": "Read."},
                ],
            }
        ],
    }


def atif_terminal() -> dict[str, Any]:
    """1.5: the observation of a terminal has no call id, and a continuation repeats its context."""
    return {
        "schema_version": "ATIF-v1.5",
        "session_id": "session-1",
        "agent": {"name": "terminus-2", "version": "2.0.0", "model_name": "openai/gpt-4o"},
        "steps": [
            {"step_id": 1, "source": "user", "message": "Go on.", "is_copied_context": True},
            {"step_id": 2, "source": "agent", "message": "ls", "is_copied_context": True},
            {
                "step_id": 3,
                "source": "agent",
                "message": '{"commands": ["pwd"]}',
                "observation": {"results": [{"content": "/app"}]},
                "metrics": {"prompt_tokens": 5, "completion_tokens": 1},
            },
            {"step_id": 4, "source": "agent", "message": '{"task_complete": true}', "metrics": {}},
        ],
        "final_metrics": {"total_prompt_tokens": 5, "total_completion_tokens": 1},
    }
