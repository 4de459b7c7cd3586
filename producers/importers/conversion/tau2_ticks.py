"""The ticks of a full-duplex simulation of tau2-bench as messages in their order.

**A tick is a fifth of a second in which both sides may speak.** What one side says over several ticks is one
message, until the other side says something or a tool is called.
**Ticks of silence are no messages.** What else a tick records, such as sound effects, stays with the message
that follows it, under `ticks`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tracelake.producers.importers.conversion.fields import mapping, sequence, text

# (role, its chunk, its calls, the results of its calls)
SIDES = (
    ("assistant", "agent_chunk", "agent_tool_calls", "agent_tool_results"),
    ("user", "user_chunk", "user_tool_calls", "user_tool_results"),
)
_OF_CHUNK = ("role", "content", "timestamp")


def messages_of_ticks(ticks: list[Any]) -> list[dict[str, Any]]:
    """Messages as a half-duplex simulation has them, sorted by time; those of one role that follow each other
    are one message."""
    pieces = [piece for tick in ticks for piece in _pieces(mapping(tick, "ticks[]"))]
    pieces.sort(key=lambda piece: piece["timestamp"])
    messages: list[dict[str, Any]] = []
    silent: list[Any] = []
    for piece in pieces:
        last = messages[-1] if messages else None
        if last is not None and _continues(last, piece):
            last["content"] += _gap(last, piece) + piece["content"]
            last["ticks"] += [*silent, *piece["ticks"]]
            last["utterance_ids"] = piece["utterance_ids"]
            silent = []
        elif piece["content"] or piece["role"] == "tool" or piece.get("tool_calls"):
            messages.append({**piece, "ticks": [*silent, *piece["ticks"]]})
            silent = []
        else:
            silent += piece["ticks"]
    if messages and silent:
        messages[-1]["ticks"] += silent
    for message in messages:
        del message["utterance_ids"]
        if not message["ticks"]:
            del message["ticks"]
    return messages


def _pieces(tick: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The messages of one tick, as the simulator flattens it."""
    time = text(tick.get("timestamp"), "ticks[].timestamp") or ""
    used = {"timestamp", *(key for side in SIDES for key in side[1:])}
    rest = {key: value for key, value in tick.items() if key not in used and value is not None}
    for role, chunk_key, calls_key, results_key in SIDES:
        chunk = mapping(tick.get(chunk_key), f"ticks[].{chunk_key}")
        calls = sequence(tick.get(calls_key), f"ticks[].{calls_key}")
        of_chunk = {key: value for key, value in chunk.items() if key not in _OF_CHUNK and value is not None}
        ids = of_chunk.get("utterance_ids")
        recorded = rest | ({chunk_key: of_chunk} if of_chunk else {})
        piece: dict[str, Any] = {
            "role": role,
            "content": text(chunk.get("content"), f"ticks[].{chunk_key}.content") or "",
            "timestamp": text(chunk.get("timestamp"), f"ticks[].{chunk_key}.timestamp") or time,
            "utterance_ids": set(map(str, ids)) if isinstance(ids, list) else set(),
            "ticks": [recorded] if recorded else [],
        }
        rest = {}
        if calls:
            piece["tool_calls"] = calls
        yield piece
        for result in sequence(tick.get(results_key), f"ticks[].{results_key}"):
            found = mapping(result, f"ticks[].{results_key}[]")
            when = text(found.get("timestamp"), f"ticks[].{results_key}[].timestamp") or time
            yield {"requestor": role, **found, "role": "tool", "timestamp": when, "utterance_ids": set()} | {
                "content": text(found.get("content"), f"ticks[].{results_key}[].content") or "",
                "ticks": [],
            }


def _continues(last: dict[str, Any], piece: dict[str, Any]) -> bool:
    """Whether a piece goes on with what the same side was saying."""
    has_calls = last.get("tool_calls") or piece.get("tool_calls")
    return bool(piece["content"]) and last["role"] == piece["role"] != "tool" and not has_calls


def _gap(last: dict[str, Any], piece: dict[str, Any]) -> str:
    """A space between two utterances; the chunks of one have their own."""
    return " " if last["utterance_ids"] and last["utterance_ids"].isdisjoint(piece["utterance_ids"]) else ""
