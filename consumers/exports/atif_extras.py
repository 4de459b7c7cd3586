"""Keys of an ATIF source that no field of the lake holds, put back where they came from.

`extra_json` has them under the source's own keys: those of the document with the rollout, those of a step
with the turn, those of a result with the tool result, those of a message with the next turn under `messages`.
Items of a list are in an object, by position: `{"messages": {"3": {"is_copied_context": true}}}`.

**Only what ATIF defines at a place is put back there**: a document with an unknown key, or with a value of
another type, is not ATIF. All other keys are in `extra.tracelake.source` of the same object.
**What the source says replaces what the lake computed**, such as totals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from tracelake.consumers.exports.atif_content import OWN

SOURCE = "source"
MESSAGES = "messages"
"""Key in a turn's `extra_json` of what is left of the messages that joined its context, by position; results
of the turn before are not counted."""
REFERENCE = "subagent_trajectory_ref"
COPIED = "is_copied_context"
POSITION_DIGITS_MAX = 9
_REFERENCE_KEYS = {"trajectory_id", "session_id", "trajectory_path", "extra"}


class _Place(NamedTuple):
    """One kind of object in an ATIF document."""

    values: dict[str, Callable[[Any], bool]]
    """Keys with a value, each with a check of the value."""
    objects: Mapping[str, str] = MappingProxyType({})
    """Keys with an object, by its place."""
    lists: Mapping[str, str] = MappingProxyType({})
    """Keys with a list of objects, by their place."""


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_effort(value: Any) -> bool:
    return _is_text(value) or _is_number(value)


def _is_moment(value: Any) -> bool:
    try:
        datetime.fromisoformat(value.replace("Z", "+00:00"))
    except (AttributeError, ValueError, TypeError):
        return False
    return True


def _is_document_list(value: Any) -> bool:
    needed = {"trajectory_id", "agent", "steps"}
    return isinstance(value, list) and all(isinstance(item, dict) and needed <= set(item) for item in value)


def _is_reference_list(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, dict)
        and set(item) <= _REFERENCE_KEYS
        and (_is_text(item.get("trajectory_id")) or _is_text(item.get("trajectory_path")))
        for item in value
    )


_PLACES: dict[str, _Place] = {
    "trajectory": _Place(
        {
            "session_id": _is_text,
            "notes": _is_text,
            "continued_trajectory_ref": _is_text,
            "extra": _is_object,
            "subagent_trajectories": _is_document_list,
        },
        {"agent": "agent", "final_metrics": "final_metrics"},
        {"steps": "step"},
    ),
    "agent": _Place({"name": _is_text, "version": _is_text, "model_name": _is_text, "extra": _is_object}),
    "final_metrics": _Place(
        {
            "total_prompt_tokens": _is_count,
            "total_completion_tokens": _is_count,
            "total_cached_tokens": _is_count,
            "total_cost_usd": _is_number,
            "total_steps": _is_count,
            "extra": _is_object,
        }
    ),
    "step": _Place(
        {
            "timestamp": _is_moment,
            COPIED: _is_flag,
            "llm_call_count": _is_count,
            "extra": _is_object,
        },
        {"observation": "observation"},
    ),
    "agent_step": _Place(
        {
            "timestamp": _is_moment,
            "model_name": _is_text,
            "reasoning_effort": _is_effort,
            COPIED: _is_flag,
            "llm_call_count": _is_count,
            "extra": _is_object,
        },
        {"metrics": "metrics", "observation": "observation"},
        {"tool_calls": "call"},
    ),
    "metrics": _Place({"extra": _is_object}),
    "observation": _Place({}, {}, {"results": "result"}),
    "result": _Place({REFERENCE: _is_reference_list, "extra": _is_object}),
    "call": _Place({"extra": _is_object}),
}
_NOT_CARRIED = {"schema_version", "step_id"}
"""The export has its own version, and numbers the steps itself."""


def taken_messages(extra: Any) -> dict[str, dict[str, Any]]:
    """What is left of a turn's messages, taken out of its `extra_json`."""
    rests = extra.get(MESSAGES) if isinstance(extra, dict) else None
    if not isinstance(rests, dict) or not all(isinstance(rest, dict) for rest in rests.values()):
        return {}
    return extra.pop(MESSAGES)


def place_of(written: dict[str, Any]) -> str:
    return "agent_step" if written["source"] == "agent" else "step"


def put_back(target: dict[str, Any], extra: Any, place: str) -> None:
    """Put keys of a source's `extra_json` into an object of a document: a `trajectory`,
    `step`, `agent_step` or `result`."""
    if not isinstance(extra, dict):
        return
    foreign = _merge(target, extra, _PLACES[place])
    if foreign:
        own = target.setdefault("extra", {}).setdefault(OWN, {})
        own[SOURCE] = {**own.get(SOURCE, {}), **foreign}


def _merge(target: dict[str, Any], extra: dict[str, Any], place: _Place) -> dict[str, Any]:
    """Returns what has no place."""
    foreign: dict[str, Any] = {}
    for key, value in extra.items():
        if key in place.objects and isinstance(value, dict):
            rest = _merge_object(target, key, value, _PLACES[place.objects[key]])
        elif key in place.lists and isinstance(value, dict):
            rest = _merge_items(target.get(key), value, place.lists[key])
        elif key in place.values and place.values[key](value):
            rest = None
            _set(target, key, value)
        else:
            rest = None if key in _NOT_CARRIED else value
        if rest is not None:
            foreign[key] = rest
    return foreign


def _merge_object(
    target: dict[str, Any], key: str, value: dict[str, Any], place: _Place
) -> dict[str, Any] | None:
    into = target.get(key, {})
    rest = _merge(into, value, place)
    # Only if something belongs there: an empty object is not what the source had.
    if into:
        target[key] = into
    return rest or None


def _merge_items(items: Any, by_position: dict[str, Any], place: str) -> dict[str, Any] | None:
    rest: dict[str, Any] = {}
    for position, value in by_position.items():
        item = _item_at(items, position)
        if not isinstance(item, dict) or not isinstance(value, dict):
            rest[position] = value
            continue
        left = _merge(item, value, _PLACES[place_of(item) if place == "step" else place])
        if left:
            rest[position] = left
    return rest or None


def _item_at(items: Any, position: str) -> Any:
    if not position.isdecimal() or not position.isascii() or len(position) > POSITION_DIGITS_MAX:
        return None
    return items[int(position)] if isinstance(items, list) and int(position) < len(items) else None


def _set(target: dict[str, Any], key: str, value: Any) -> None:
    if isinstance(value, dict) and isinstance(target.get(key), dict):
        # The lake's own values stay next to the source's.
        target[key] = {**value, **target[key]}
    else:
        target[key] = value
