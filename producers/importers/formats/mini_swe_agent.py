"""mini-swe-agent's `*.traj.json`: 1.1 with tool calls and whole responses, 1 with commands in the text, and
bare message lists.

**A reply that was dropped for its format is a turn without a child**: the recorder keeps it only in the
complaint that followed it.
**The submitting command has no result**: the agent stops before it is observed.
**API keys are not carried over**: the recorder writes `model_kwargs` with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tracelake.producers.importers.chat import (
    TurnsBuilder,
    call_names,
    chat_content,
    chat_message,
    checked_fact,
)
from tracelake.producers.importers.fields import integer, mapping, moment, number, text
from tracelake.producers.importers.formats.mini_swe_ending import rollout_ended
from tracelake.producers.importers.formats.mini_swe_start import (
    FORMAT,
    Trajectory,
    handed_in,
    rollout_started,
    trajectory_of,
)
from tracelake.producers.importers.model_response import completion_fields, response_fields, response_message
from tracelake.producers.importers.source import (
    SHAPE_ERRORS,
    Imported,
    Importer,
    Opened,
    Refused,
    Siblings,
    refused,
)
from tracelake.schemas.events.rollout_events import ToolReturned
from tracelake.schemas.message import Message, content_text

MARKERS = ("COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT", "mswea_bash_command")
ENDS_COMPARED = 1000
FIRST_WORDS = 64

_RETURN_CODE = re.compile(r"<returncode>(-?\d{1,9})</returncode>")
_COUNTED = ("kept", "dropped", "results")


def claims(opened: Opened) -> bool:
    document = opened.document
    if isinstance(document, dict):
        info = document.get("info")
        if str(document.get("trajectory_format")).startswith(FORMAT):
            return True
        known = isinstance(info, dict) and (
            "mini_version" in info or {"model_stats", "config"} <= info.keys()
        )
        return known and isinstance(document.get("messages"), list)
    if isinstance(document, list) and len(document) > 1:
        return all(isinstance(message, dict) and "role" in message for message in document) and any(
            marker in str(message.get("content")) for message in document[:2] for marker in MARKERS
        )
    return False


def read(opened: Opened, siblings: Siblings) -> Iterator[Imported | Refused]:
    try:
        yield _Reader(trajectory_of(opened)).imported()
    except SHAPE_ERRORS as error:
        yield refused(error, data=opened.source.data, format=FORMAT)


class _Reader:
    """One pass over the messages of one file."""

    def __init__(self, trajectory: Trajectory) -> None:
        self._trajectory = trajectory
        self._turns = TurnsBuilder(trajectory.rollout_id)
        self._names: dict[str, str] = {}
        """Tool name by call id, of the latest reply."""
        self._answered = 0
        """Results of the latest reply so far."""
        self._observing = False
        """A user message would be the result of a command in text."""
        self._counts = dict.fromkeys(_COUNTED, 0)

    def imported(self) -> Imported:
        trajectory, events = self._trajectory, self._turns.events
        events.append(rollout_started(trajectory))
        for index, message in enumerate(trajectory.messages):
            self._take(index, message)
        ended = rollout_ended(self._turns, trajectory.info, trajectory.messages)
        events.append(ended)
        return Imported(
            trajectory.rollout_id,
            events,
            self._counts["kept"],
            self._counts["results"],
            other_turn_count=self._counts["dropped"],
            cost_usd=ended.cost_usd or 0.0,
            handed_in=handed_in(trajectory, ended.submission),
        )

    def _take(self, index: int, message: Message) -> None:
        role = message.get("role")
        extra = message.get("extra") or {}
        if role == "tool" or message.get("type") == "function_call_output":
            self._take_result(index, message, extra)
        elif role == "assistant":
            self._take_turn(index, chat_message(message), extra, extra.get("response"))
        elif message.get("object") == "response":
            self._take_turn(index, response_message(message), extra, message)
        elif role == "user" and extra.get("response"):
            self._take_dropped(index, message, mapping(extra["response"], "response"))
        elif role == "user" and self._observing and _observes(message, extra):
            self._take_result(index, message, extra)
        elif role != "exit":
            self._turns.add_context(chat_message(message))
            self._observing = False

    def _take_turn(
        self, index: int, action: Message, extra: dict[str, Any], response: Any, *, kept: bool = True
    ) -> None:
        found = mapping(response, "response")
        fields = response_fields(found) if "output" in found else completion_fields(found)
        fields["model_requested"] = self._trajectory.model_requested
        fields["cost_usd"] = number(extra.get("cost"), "cost")
        fields["occurred_at"] = moment(extra.get("timestamp"), "timestamp")
        fields["source_position"] = index
        if not kept:
            fields["finish_reason"] = "parse_error"
        self._turns.add_turn(action, fields, kept=kept)
        self._names, self._answered, self._observing = call_names(action), 0, kept
        self._counts["kept" if kept else "dropped"] += 1

    def _take_dropped(self, index: int, complaint: Message, response: dict[str, Any]) -> None:
        spoken = "output" in response
        action = response_message(response) if spoken else chat_message(response["choices"][0]["message"])
        self._take_turn(index, action, {}, response, kept=False)
        self._turns.add_context(chat_message(complaint))

    def _take_result(self, index: int, message: Message, extra: dict[str, Any]) -> None:
        shown = _shown(message)
        self._turns.add_context(shown)
        if not self._turns.turn_count:
            return
        content = content_text(shown["content"])
        call_id = shown.get("tool_call_id")
        raw = text(extra.get("raw_output"), "raw_output")
        seen = index < self._trajectory.last_turn
        fields = {
            "rollout_id": self._trajectory.rollout_id,
            "turn_index": self._turns.turn_count - 1,
            "call_index": self._answered,
            "tool_call_id": call_id,
            "tool_name": self._names.get(call_id or ""),
            "raw_output": content if raw is None and not seen else raw,
            "visible_output": content if seen else None,
            "visible_truncated": _cut(raw, content) if seen and raw is not None else None,
            "return_code": _return_code(extra, content),
            "error": text(extra.get("exception_info"), "exception_info") or None,
            "occurred_at": moment(extra.get("timestamp"), "timestamp"),
            "source_position": index,
        }
        self._turns.events.append(checked_fact(ToolReturned, fields))
        self._answered += 1
        self._counts["results"] += 1


def _observes(message: Message, extra: dict[str, Any]) -> bool:
    return "raw_output" in extra or _RETURN_CODE.match(content_text(message.get("content"))) is not None


def _shown(message: Message) -> Message:
    """A result as it joined the context."""
    if message.get("type") != "function_call_output":
        return chat_message(message)
    call_id = text(message.get("call_id"), "call_id")
    return {"role": "tool", "content": chat_content(message.get("output")), "tool_call_id": call_id}


def _return_code(extra: dict[str, Any], content: str) -> int | None:
    """As recorded, else as the recorder's own template prints it in front of what the model saw."""
    if "returncode" in extra:
        return integer(extra["returncode"], "returncode")
    printed = _RETURN_CODE.match(content)
    return int(printed[1]) if printed else None


def _cut(raw: str, visible: str) -> bool | None:
    """Whether the model saw less than the tool said; null if the text was changed in a way that does not
    tell."""
    # Templates print the output whole: comparing at its first words is far cheaper than a search for all.
    if visible.startswith(raw, max(visible.find(raw[:FIRST_WORDS]), 0)) or raw.strip() in visible:
        return False
    ends_seen = raw[:ENDS_COMPARED] in visible and raw.rstrip()[-ENDS_COMPARED:] in visible
    return True if ends_seen or len(visible) < len(raw) else None


IMPORTER = Importer(
    FORMAT,
    claims,
    read,
    not_carried=(
        "tool definitions",
        "latency of a call (only the time of its end)",
        "token ids and logprobs, unless the server was asked for them",
        "result of the submitting command",
        "name of the run (in the path: see the origin of the events)",
    ),
)
