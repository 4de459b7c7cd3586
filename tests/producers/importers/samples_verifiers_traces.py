"""Episodes and traces of verifiers v1, as each version of the recorder writes them."""

from __future__ import annotations

from typing import Any

SEARCH = {"name": "search", "description": "Find pages.", "parameters": {"type": "object", "properties": {}}}


def node(parent: int | None, role: str, content: str | None, ids: list[int], **more: Any) -> dict[str, Any]:
    """A node that was part of a prompt."""
    message = {"role": role, "content": content, **more.pop("message", {})}
    return {
        "parent": parent,
        "message": message,
        "sampled": False,
        "timestamp": 1780000002.5,
        "token_ids": ids,
        "mask": [False] * len(ids),
        "is_content": [],
        "logprobs": [],
        **more,
    }


def sampled(parent: int, content: str | None, ids: list[int], prompt: int, **more: Any) -> dict[str, Any]:
    """A node that a model sampled; `prompt` of its ids begin the reply."""
    count = len(ids) - prompt
    values = {"mask": [False] * prompt + [True] * count, "logprobs": [-0.125] * count, "sampled": True}
    return node(parent, "assistant", content, ids, **values, **more)


def call(node_index: int | None, start: float, **more: Any) -> dict[str, Any]:
    return {
        "node": node_index,
        "model": "qwen3-4b",
        "sampling": {"temperature": 1.0, "max_tokens": 512},
        "endpoint": "/chat/completions",
        "finish_reason": "stop",
        "usage": {
            "prompt_tokens": 20,
            "completion_tokens": 3,
            "cached_input_tokens": 4,
            "reasoning_tokens": 1,
            "cost": 0.001,
        },
        "time": {"start": start, "end": start + 0.5},
        **more,
    }


def nodes() -> list[dict[str, Any]]:
    """Two turns in one branch, then a second branch after a summary: nodes 0 and 1 are shared."""
    search = {"id": "c1", "type": "function", "name": "search", "arguments": '{"q": "boat"}'}
    return [
        node(None, "system", "You search.", [1, 2], tools=[{"type": "function", **SEARCH}]),
        node(0, "user", "Which boat?", [3, 4]),
        sampled(1, None, [5, 10, 11], 1, message={"tool_calls": [search], "reasoning_content": "Hm."}),
        node(2, "tool", "the Argo", [6, 7], message={"tool_call_id": "c1"}),
        sampled(3, "The Argo.", [5, 12], 1),
        node(1, "user", "Summary: it was the Argo.", [8]),
        sampled(5, "Argo", [5, 13], 1, semantic_parents=[{"node": 4, "type": "compaction"}]),
    ]


def trace(trace_id: str = "t1", **more: Any) -> dict[str, Any]:
    span = {"start": 1780000001.0, "end": 1780000009.0}
    return {
        "version": 1,
        "id": trace_id,
        "verifiers": {"version": "0.4.0", "commit": "abc"},
        "task": {"type": "WikiTask", "data": {"idx": 7, "question": "Which boat?"}, "key": "7", "hash": "ff"},
        "agent": {
            "config": {
                "model": "qwen3-4b",
                "sampling": {"temperature": 1.0, "max_tokens": 512},
                "client": {"base_url": "http://localhost:8000/v1", "api_key": "sk-very-secret"},
                "harness": {"id": "bash"},
            },
            "runtime": {"type": "docker", "id": "box-1"},
            "name": "agent",
            "trainable": True,
        },
        "tools": [{"type": "function", **SEARCH}],
        "nodes": nodes(),
        "calls": [
            call(2, 1780000002.0, finish_reason="tool_calls"),
            call(None, 1780000003.0, usage=None, error={"type": "ProviderError", "message": "busy"}),
            call(4, 1780000004.0),
            call(6, 1780000006.0),
        ],
        "mm_token_type_id_map": {},
        "rewards": {"correct": {"score": 1.0, "weight": 0.8}, "format": {"score": 0.5, "weight": 0.2}},
        "metrics": {"searches": 1.0, "format": 2.0},
        "info": {"seed": 3},
        "root_reply": "Argo",
        "extra_usage": [{"prompt_tokens": 5, "completion_tokens": 1}],
        "is_completed": True,
        "ok": True,
        "stop_condition": "agent_completed",
        "is_timeout": False,
        "errors": [],
        "timing": {"start": 1780000000.0, "boot": span, "agent": {**span, "model": {"duration": 1.5}}},
        "num_input_tokens": 9,
        "num_output_tokens": 4,
        "num_total_tokens": 13,
        **more,
    }


def episode(*traces: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An episode of PRIME-RL: a group, a run, the policy that sampled."""
    work = {"type": "train", "step": 5, "policy": {"start": 4, "end": 4}}
    return {
        "id": "e1",
        "env": {"id": "wiki-search", "name": "wiki"},
        "task": {"type": "WikiTask", "data": {"idx": 7, "question": "Which boat?"}, "key": "7", "hash": "ff"},
        "group": {"id": "g1"},
        "run": {"type": "train", "id": "r1", "name": "run-a", "work": work},
        "ok": True,
        "is_timeout": False,
        "errors": [],
        "traces": list(traces),
        **more,
    }


def effective_trace() -> dict[str, Any]:
    """The same trace after the trainer chose it."""
    found = trace()
    found["nodes"][2] |= {"advantages": [0.5, 0.5], "reference_logprobs": [-0.25, -0.75]}
    found["nodes"][3] |= {"loss_weights": {"echo": [0.0, 1.0]}}
    found["nodes"][4] |= {"advantages": [-0.5]}
    return found


def old_trace() -> dict[str, Any]:
    """verifiers 0.2.1: a bare trace whose rewards are weighted numbers."""
    found = trace("t-old")
    for key in (
        "ok",
        "is_timeout",
        "root_reply",
        "num_input_tokens",
        "num_output_tokens",
        "num_total_tokens",
    ):
        del found[key]
    agent = {
        "model": "qwen3-4b",
        "sampling": {"temperature": 1.0, "max_tokens": 512},
        "harness": {"id": "null"},
    }
    timing = {"start": 1780000000.0, "generation": {"start": 1780000001.0, "end": 1780000003.0}}
    found["nodes"][0].pop("tools")
    return found | {
        "version": 2,
        "verifiers": {"version": "0.2.1", "commit": None},
        "task": {"type": "WikiTask", "data": {"idx": 7, "question": "Which boat?"}},
        "agent": agent,
        "runtime": {"type": "subprocess"},
        "run": {"type": "eval", "id": "run-old", "step": None},
        "rewards": {"correct": 0.8, "format": 0.1},
        "stop_condition": "max_turns",
        "timing": timing,
    }
