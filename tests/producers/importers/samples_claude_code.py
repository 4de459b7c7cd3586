"""A session of Claude Code, as the program writes it line by line."""

from __future__ import annotations

from typing import Any

SESSION = "5e551014-0000-4000-8000-000000000001"


def line(number: int, parent: int | None, type_: str, **more: Any) -> dict[str, Any]:
    return {
        "parentUuid": None if parent is None else f"u{parent}",
        "isSidechain": False,
        "userType": "external",
        "cwd": "/workspace/project",
        "sessionId": SESSION,
        "version": "2.1.12",
        "gitBranch": "main",
        "type": type_,
        "uuid": f"u{number}",
        "timestamp": f"2026-02-03T04:05:{number:02d}.250Z",
        **more,
    }


def user(number: int, parent: int | None, content: Any, **more: Any) -> dict[str, Any]:
    return line(number, parent, "user", message={"role": "user", "content": content}, **more)


def result(number: int, parent: int, call_id: str, content: Any, **more: Any) -> dict[str, Any]:
    block = {"tool_use_id": call_id, "type": "tool_result", "content": content, **more.pop("block", {})}
    return user(number, parent, [block], sourceToolAssistantUUID=f"u{parent}", **more)


def reply(number: int, parent: int, message_id: str, block: Any, stop: str | None = None) -> dict[str, Any]:
    message = {
        "model": "claude-opus-4-5",
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "content": [block],
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 3,
            "cache_creation_input_tokens": 100,
            "cache_read_input_tokens": 1000,
            "output_tokens": 25,
            "service_tier": "standard",
        },
    }
    return line(number, parent, "assistant", message=message, requestId="req_1")


def call(call_id: str, name: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


def session() -> list[dict[str, Any]]:
    """A reply of three blocks with two calls, their results, an answer; a compaction and a second answer."""
    thinking = {"type": "thinking", "thinking": "First look.", "signature": "sig"}
    return [
        {"type": "summary", "summary": "Fixing a bug", "leafUuid": "u6"},
        user(0, None, "Fix the bug."),
        reply(1, 0, "msg_1", thinking),
        reply(2, 1, "msg_1", call("t1", "Bash", command="ls")),
        reply(3, 2, "msg_1", call("t2", "Read", file_path="x"), "tool_use"),
        result(4, 2, "t1", "a.txt", toolUseResult={"stdout": "a.txt\nb.txt", "stderr": "", "durationMs": 12}),
        result(5, 3, "t2", "no such file", block={"is_error": True}, toolUseResult="Error: no such file"),
        reply(6, 5, "msg_2", {"type": "text", "text": "Done."}, "end_turn"),
        line(7, None, "system", subtype="compact_boundary", logicalParentUuid="u6", content="Compacted"),
        user(8, 7, "Summary: the bug is fixed.", isCompactSummary=True),
        user(9, 8, "Thanks. What was it?"),
        reply(10, 9, "msg_3", {"type": "text", "text": "A typo."}, "end_turn"),
    ]
