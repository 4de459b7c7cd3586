"""Conversations of OpenHands: events of its SDK, the state beside them, and rows of its benchmark harness."""

from __future__ import annotations

from typing import Any


def text(content: str) -> dict[str, Any]:
    return {"cache_prompt": False, "type": "text", "text": content}


def event(number: int, kind: str, source: str, **more: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "id": f"00000000-0000-4000-8000-{number:012d}",
        "timestamp": f"2026-02-03T04:05:{number:02d}+00:00",
        "source": source,
        **more,
    }


def event_id(number: int) -> str:
    return event(number, "", "")["id"]


def action(number: int, call_id: str, command: str, response_id: str, **more: Any) -> dict[str, Any]:
    arguments = f'{{"command": "{command}"}}'
    call = {"id": call_id, "name": "terminal", "arguments": arguments, "origin": "completion"}
    return event(
        number,
        "ActionEvent",
        "agent",
        **{
            "thought": [],
            "thinking_blocks": [],
            "action": {"kind": "ExecuteBashAction", "command": command},
            "tool_name": "terminal",
            "tool_call_id": call_id,
            "tool_call": call,
            "llm_response_id": response_id,
            "security_risk": "LOW",
            "summary": "look",
            **more,
        },
    )


def observation(number: int, call_id: str, output: str, action_number: int, code: int = 0) -> dict[str, Any]:
    shown = {
        "kind": "ExecuteBashObservation",
        "content": [text(output)],
        "is_error": code > 0,
        "exit_code": code,
    }
    return event(
        number,
        "ObservationEvent",
        "environment",
        observation=shown,
        action_id=event_id(action_number),
        tool_name="terminal",
        tool_call_id=call_id,
    )


def sdk_events() -> list[dict[str, Any]]:
    """Two parallel calls, a condensation that forgets them, a finish."""
    user = {"role": "user", "content": [text("Fix the bug.")], "tool_calls": None}
    tool = {"type": "function", "function": {"name": "terminal", "parameters": {}}}
    thinking = [{"type": "thinking", "thinking": "First look.", "signature": "sig"}]
    finish = {
        "tool_name": "finish",
        "action": {"kind": "FinishAction", "message": "All done."},
        "thought": [text("I am done.")],
        "critic_result": {"score": 0.75, "message": "good"},
    }
    first = {"thought": [text("I look.")], "reasoning_content": "First look.", "thinking_blocks": thinking}
    return [
        event(0, "SystemPromptEvent", "agent", system_prompt=text("You code."), tools=[tool]),
        event(
            1, "MessageEvent", "user", llm_message=user, activated_skills=[], extended_content=[text("Hint.")]
        ),
        action(2, "c1", "ls", "r1", **first),
        action(3, "c2", "cat x", "r1"),
        observation(4, "c1", "a.txt", 2),
        observation(5, "c2", "no file", 3, code=1),
        event(
            6,
            "Condensation",
            "environment",
            forgotten_event_ids=[event_id(number) for number in (2, 3, 4, 5)],
            summary="Looked around.",
            summary_offset=2,
            llm_response_id="r2",
        ),
        action(7, "c3", "done", "r3", **finish),
        event(8, "ConversationStateUpdateEvent", "environment", key="execution_status", value="finished"),
    ]


def usage(response_id: str) -> dict[str, Any]:
    return {
        "model": "deepseek-chat",
        "prompt_tokens": 100,
        "completion_tokens": 9,
        "cache_read_tokens": 64,
        "cache_write_tokens": 0,
        "reasoning_tokens": 4,
        "context_window": 0,
        "per_turn_token": 109,
        "response_id": response_id,
    }


def metrics() -> dict[str, Any]:
    return {
        "model_name": "deepseek-chat",
        "accumulated_cost": 0.03,
        "accumulated_token_usage": usage(""),
        "costs": [
            {"model": "deepseek-chat", "cost": cost, "timestamp": 1770000000.5} for cost in (0.01, 0.02)
        ],
        "response_latencies": [{"model": "deepseek-chat", "latency": 1.5, "response_id": "r1"}],
        "token_usages": [usage("r1"), usage("r3")],
    }


def base_state() -> dict[str, Any]:
    return {
        "id": "conversation-1",
        "agent": {"kind": "Agent", "llm": {"model": "deepseek/deepseek-chat", "api_key": "sk-very-secret"}},
        "workspace": {"kind": "LocalWorkspace", "working_dir": "/workspace"},
        "max_iterations": 100,
        "execution_status": "finished",
        "stats": {"usage_to_metrics": {"agent": metrics()}},
    }


def output_row() -> dict[str, Any]:
    """A row of the benchmark harness over the SDK."""
    return {
        "instance_id": "django__1",
        "attempt": 2,
        "test_result": {"git_patch": "diff --git a/x b/x\n"},
        "instruction": "Fix the bug.",
        "metadata": {"llm": {"model": "deepseek/deepseek-chat"}, "max_iterations": 100},
        "history": sdk_events(),
        "metrics": metrics(),
        "error": None,
        "instance": {"repo": "django/django"},
    }


def old_event(number: int, source: str, **more: Any) -> dict[str, Any]:
    return {"id": number, "timestamp": "2025-01-02T03:04:05.678", "source": source, "message": "", **more}


def old_row() -> dict[str, Any]:
    """A row of the harness before the SDK: the response is in the event, the report in the row."""
    call = {
        "id": "c1",
        "type": "function",
        "function": {"name": "execute_bash", "arguments": '{"command": "ls"}'},
    }
    reply = {"role": "assistant", "content": "I look.", "tool_calls": [call]}
    response = {
        "id": "resp-1",
        "model": "gpt-4o",
        "created": 1735787045,
        "object": "chat.completion",
        "choices": [{"index": 0, "finish_reason": "tool_calls", "message": reply}],
        "usage": {"prompt_tokens": 50, "completion_tokens": 5, "total_tokens": 55},
    }
    called = {"function_name": "execute_bash", "tool_call_id": "c1", "total_calls_in_response": 1}
    done = {"final_thought": "Done.", "task_completed": "true", "outputs": {}, "thought": ""}
    return {
        "instance_id": "django__1",
        "test_result": {"git_patch": "diff"},
        "report": {"resolved": True, "empty_generation": False},
        "instruction": "Fix it.",
        "metadata": {"agent_class": "CodeActAgent", "llm_config": {"model": "gpt-4o"}},
        "history": [
            old_event(0, "agent", action="system", args={"content": "You code.", "tools": []}),
            old_event(1, "user", action="message", args={"content": "Fix it.", "wait_for_response": False}),
            old_event(
                2,
                "agent",
                action="run",
                args={"command": "ls", "thought": "I look."},
                tool_call_metadata={**called, "model_response": response},
            ),
            old_event(
                3,
                "agent",
                observation="run",
                content="a.txt",
                cause=2,
                success=True,
                extras={"command": "ls", "metadata": {"exit_code": 0}},
                tool_call_metadata=called,
            ),
            old_event(4, "agent", action="finish", args=done),
            old_event(
                5, "environment", observation="agent_state_changed", content="", extras={"reason": "end"}
            ),
        ],
        "metrics": {"accumulated_cost": 0.25, "costs": [], "token_usages": [], "response_latencies": []},
        "error": None,
    }
