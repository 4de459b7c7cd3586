"""What the policy of a SWE-agent trajectory saw before each of its calls.

Three ages of the format tell it in three ways: `query` (the input of the call, 1.1), `messages` (the context
after the call, 1.0), or one `history` of the whole run (all).

**A context that the source states is taken as stated.** One rebuilt from the history is marked as rebuilt:
history processors may have shortened what the model really saw.
"""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import Any, NamedTuple

from tracelake.producers.importers.chat import chat_message
from tracelake.producers.importers.fields import mapping, sequence, text
from tracelake.schemas.message import Message

SHARED_MARKS = ("query", "messages")


class Seen(NamedTuple):
    """One call: the whole context before it, its action, and the observation as the model saw it."""

    context: list[Message]
    action: Message
    observation: Message | None
    """Null if no call followed that could see it."""
    rebuilt: bool
    """The context comes from the history."""
    dropped: bool
    """The action is not in the history: it never joined the context."""


class Past(NamedTuple):
    """A history, with the place of each trajectory entry's reply in it."""

    messages: list[Message]
    place_of: dict[int, int]


def seen_by_policy(trajectory: list[dict[str, Any]], history: list[Any]) -> list[Seen]:
    past = _past(trajectory, history)
    queries = [_stated(entry) for entry in trajectory]
    result: list[Seen] = []
    for index, entry in enumerate(trajectory):
        query = queries[index]
        after = queries[index + 1] if index + 1 < len(queries) else None
        place = past.place_of.get(index)
        action = _action(entry, query, after, past, place)
        if query is None:
            end = _context_end(past, index) if place is None else place
            context = _with_actions(past, end, trajectory)
        else:
            context = query
        last = index + 1 == len(trajectory)
        observation = None if last else _observation(context, action, after, past, place)
        dropped = query is None and place is None and not last
        result.append(Seen(context, action, observation, query is None, dropped))
    return result


def _stated(entry: dict[str, Any]) -> list[Message] | None:
    """The input of the call as its entry states it."""
    if entry.get("query"):
        return _messages(entry["query"])
    if not entry.get("messages"):
        return None
    after = _messages(entry["messages"])
    replies = [place for place, message in enumerate(after) if message["role"] == "assistant"]
    if not replies or after[replies[-1]]["content"] != entry.get("response"):
        return None
    return after[: replies[-1]]


def _messages(found: Any) -> list[Message]:
    return [_message(mapping(message, "history")) for message in sequence(found, "history")]


def _message(message: dict[str, Any]) -> Message:
    """SWE-agent keeps the ids of answered calls as a list."""
    result = chat_message(message)
    ids = sequence(message.get("tool_call_ids"), "tool_call_ids")
    if result["role"] == "tool" and ids:
        result["tool_call_id"] = text(ids[0], "tool_call_ids")
    return result


def _past(trajectory: list[dict[str, Any]], history: list[Any]) -> Past:
    """Replies are matched by their commands, in order: the text around them was edited in some published
    files."""
    found = [mapping(message, "history") for message in history]
    replies = [
        place
        for place, message in enumerate(found)
        if message.get("role") == "assistant" and not message.get("is_demo")
    ]
    told = [_command(found[place], "content") for place in replies]
    done = [_command(entry, "response") for entry in trajectory]
    place_of: dict[int, int] = {}
    for block in SequenceMatcher(None, done, told, autojunk=False).get_matching_blocks():
        for offset in range(block.size):
            place_of[block.a + offset] = replies[block.b + offset]
    return Past(_messages(found), place_of)


def _command(record: dict[str, Any], otherwise: str) -> str:
    command = record.get("action")
    return str(record.get(otherwise) if command is None else command).strip()


def _context_end(past: Past, index: int) -> int:
    """Where in the history a call stood whose reply is not in it: after the observation of the one before."""
    earlier = [place for entry, place in past.place_of.items() if entry < index]
    end = max(earlier, default=-1) + 1
    while end < len(past.messages) and past.messages[end]["role"] != "assistant":
        end += 1
    return end


def _with_actions(past: Past, end: int, trajectory: list[dict[str, Any]]) -> list[Message]:
    """The history up to a place, replies as the trajectory records them, so that contexts continue the
    actions."""
    context = list(past.messages[:end])
    for index, place in past.place_of.items():
        if place < end:
            context[place] = _reply(trajectory[index], past.messages[place])
    return context


def _reply(entry: dict[str, Any], recorded: Message | None) -> Message:
    """The reply of an entry; only messages carry its structured calls."""
    action: Message = {"role": "assistant", "content": text(entry.get("response"), "response")}
    if recorded and "tool_calls" in recorded:
        action["tool_calls"] = recorded["tool_calls"]
    return action


def _action(
    entry: dict[str, Any],
    query: list[Message] | None,
    after: list[Message] | None,
    past: Past,
    place: int | None,
) -> Message:
    if query is not None and after is not None and len(after) > len(query):
        recorded = after[len(query)]
        if recorded["role"] == "assistant" and recorded["content"] == entry.get("response"):
            return recorded
    return _reply(entry, None if place is None else past.messages[place])


def _observation(
    context: list[Message], action: Message, after: list[Message] | None, past: Past, place: int | None
) -> Message | None:
    """The message that answered the action: next after it, in the next call's context or in the history."""
    if after is not None:
        stands = len(after) > len(context) + 1 and after[len(context)] == action
        return after[len(context) + 1] if stands else None
    if place is not None and place + 1 < len(past.messages):
        answer = past.messages[place + 1]
        return answer if answer["role"] in ("user", "tool") else None
    return None
