"""Small results of tau2-bench, as its runner writes them."""

from __future__ import annotations

import json
from typing import Any


def tau2() -> dict[str, Any]:
    """A results file: a greeting, a call of the agent, a call of the user, an error."""
    return {
        "timestamp": "2025-08-01T16:16:36.490106",
        "info": _info(),
        "tasks": [_task()],
        "simulations": [_simulation()],
    }


def tau2_simulation() -> dict[str, Any]:
    """The file of one full-duplex simulation, in ticks."""
    simulation = _simulation()
    del simulation["messages"]
    ticks = [
        _tick(0, agent="Hi, ", user=None, utterance="a1"),
        _tick(1, agent="how are you?", user=None, utterance="a1"),
        _tick(2, agent=None, user="My order ", utterance="u1"),
        _tick(3, agent=None, user="is lost.", utterance="u1"),
        _tick(4, agent=None, user=None),
        _tick(5, agent="I look.", user=None, utterance="a2"),
    ]
    ticks[5]["agent_tool_calls"] = [_call("c9", "find_order", {"id": 7})]
    ticks[5]["agent_tool_results"] = [_result("c9", '{"id": 7}', at="2026-06-30T11:40:30")]
    return {**simulation, "id": "simulation-2", "mode": "full_duplex", "ticks": ticks}


def _info() -> dict[str, Any]:
    tool = {"name": "get_bill", "doc": "A bill.", "params": {"type": "object"}, "returns": {"type": "string"}}
    return {
        "git_commit": "b02b5093",
        "num_trials": 1,
        "max_steps": 200,
        "max_errors": 10,
        "user_info": {"implementation": "user_simulator", "llm": "gpt-4.1", "llm_args": {"temperature": 0.0}},
        "agent_info": {
            "implementation": "llm_agent",
            "llm": "gpt-4.1-mini",
            "llm_args": {"temperature": 0.5},
        },
        "environment_info": {"domain_name": "telecom", "policy": "Be kind.", "tool_defs": {"get_bill": tool}},
        "seed": 300,
    }


def _task() -> dict[str, Any]:
    return {
        "id": "bill_1",
        "description": {"purpose": "a bill"},
        "user_scenario": {"persona": None, "instructions": "Ask about your bill."},
        "ticket": "The user asks about a bill.",
        "initial_state": None,
        "evaluation_criteria": {"actions": [], "reward_basis": ["DB"]},
    }


def _simulation() -> dict[str, Any]:
    messages = [
        {
            "role": "assistant",
            "content": "Hi!",
            "tool_calls": None,
            "cost": 0.0,
            "usage": None,
            "raw_data": None,
        },
        {"role": "user", "content": "My bill?", "cost": 0.0007, **_reply("My bill?")},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [_call("c1", "get_bill", {"id": 12, "all": True})],
            "cost": 0.002,
            "generation_time_seconds": 1.5,
            **_reply(None, [("c1", "get_bill", '{"id":12,"all":true}')]),
        },
        _result("c1", "Error: no bill", error=True),
        {
            "role": "assistant",
            "content": "Please check your phone.",
            "cost": 0.001,
            **_reply("Please check your phone."),
        },
        {
            "role": "user",
            "content": None,
            "tool_calls": [_call("u1", "check_bar", {}, by="user")],
            "cost": 0.0003,
        },
        _result("u1", "no signal", by="user"),
        {"role": "user", "content": "###STOP###", "cost": 0.0002},
    ]
    for index, message in enumerate(messages):
        message |= {"turn_idx": index, "timestamp": f"2025-08-01T16:16:{37 + index}.5"}
    return {
        "id": "55094b9e-ef3e-42b4-8ca2-18e82cd7e7ae",
        "task_id": "bill_1",
        "timestamp": "2025-08-01T16:16:50.7",
        "start_time": "2025-08-01T16:16:37.0",
        "end_time": "2025-08-01T16:16:50.7",
        "duration": 13.5,
        "termination_reason": "user_stop",
        "agent_cost": 0.003,
        "user_cost": 0.0012,
        "reward_info": {"reward": 1.0, "reward_breakdown": {"DB": 1.0}, "db_check": {"db_match": True}},
        "messages": messages,
        "trial": 0,
        "seed": 626729,
        "mode": "half_duplex",
    }


def _call(call_id: str, name: str, arguments: dict[str, Any], by: str = "assistant") -> dict[str, Any]:
    return {"id": call_id, "name": name, "arguments": arguments, "requestor": by}


def _result(
    call_id: str, content: str, *, by: str = "assistant", error: bool = False, at: str | None = None
) -> dict[str, Any]:
    result = {"id": call_id, "role": "tool", "content": content, "requestor": by, "error": error}
    return result if at is None else {**result, "timestamp": at}


def _reply(content: str | None, calls: list[tuple[str, str, str]] | None = None) -> dict[str, Any]:
    """The saved choice of a chat completion, and its usage."""
    saved = [
        {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for call_id, name, arguments in calls or ()
    ]
    message = {"role": "assistant", "content": content, "tool_calls": saved or None, "annotations": []}
    return {
        "usage": {"prompt_tokens": 3571, "completion_tokens": 34},
        "raw_data": {"finish_reason": "tool_calls" if saved else "stop", "index": 0, "message": message},
    }


def _tick(
    number: int, *, agent: str | None, user: str | None, utterance: str | None = None
) -> dict[str, Any]:
    def chunk(role: str, content: str | None) -> dict[str, Any]:
        found: dict[str, Any] = {"role": role, "contains_speech": content is not None}
        return found if content is None else {**found, "content": content, "utterance_ids": [utterance]}

    return {
        "tick_id": number,
        "timestamp": f"2026-06-30T11:40:{20 + number}",
        "agent_chunk": chunk("assistant", agent),
        "user_chunk": chunk("user", user),
    }


def tau2_index() -> bytes:
    """The `results.json` of a run whose simulations lie in separate files."""
    index = {key: value for key, value in tau2().items() if key != "simulations"}
    return json.dumps({**index, "simulation_index": [{"id": "simulation-2", "task_id": "bill_1"}]}).encode()
