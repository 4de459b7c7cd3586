"""A list of chat messages as the turns and tool results of a rollout.

**Each assistant message is a turn, each tool message a result of the turn before it.** Results without a call
id belong to the calls in their order, if there are as many of them as calls; else their call is unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tracelake.producers.importers.conversion.chat import read_message, result_text
from tracelake.producers.importers.conversion.record import Record
from tracelake.producers.importers.conversion.rollout_builder import RolloutBuilder
from tracelake.schemas.message import Message

TurnFields = Callable[[Record, Message], dict[str, Any]]
"""Fields of TurnCompleted for the record of an assistant message and the message itself."""


def add_chat(
    rollout: RolloutBuilder,
    records: list[Record],
    turn_fields: TurnFields,
    result_fields: Callable[[Record, Message], dict[str, Any]] | None = None,
) -> None:
    """Add all messages in their order. `result_fields` adds or replaces fields of ToolReturned."""
    parsed = [(message, record) for record in records for message in read_message(record)]
    calls: list[Message] = []
    paired_by_order = False
    for index, (message, record) in enumerate(parsed):
        role = message["role"]
        if role == "assistant":
            rollout.add_turn(message, turn_fields(record, message), record)
            calls = message.get("tool_calls") or []
            paired_by_order = len(calls) == _result_count_after(parsed, index)
            continue
        if role == "tool" and rollout.turn_count:
            fields = _result_fields(rollout, message, calls, paired_by_order)
            if result_fields is not None:
                fields |= result_fields(record, message)
            rollout.add_tool_result(fields, record)
        rollout.add_context(message, record)


def _result_fields(
    rollout: RolloutBuilder, message: Message, calls: list[Message], paired_by_order: bool
) -> dict[str, Any]:
    call_id = message.get("tool_call_id")
    call: Message | None = None
    if call_id:
        call = next((call for call in calls if call["id"] == call_id), None)
    elif paired_by_order:
        call = calls[rollout.turn_result_count]
    return {
        "tool_call_id": call_id or (call["id"] if call else None),
        "tool_name": call["function"]["name"] if call else message.get("name"),
        "visible_output": result_text(message),
    }


def _result_count_after(parsed: list[tuple[Message, Record]], index: int) -> int:
    count = 0
    while index + 1 + count < len(parsed) and parsed[index + 1 + count][0]["role"] == "tool":
        count += 1
    return count
