"""One rollout as an ATIF document.

Source: the models of ATIF-v1.8 in harbor 0.25.0, which refuse unknown keys.

**Each message of a context is a step of its source, each turn a step of the agent** with its observation. A
result that joined the next turn's context is written once, as an observation.
**Turns are in the order in which they happened.** Where one does not continue the turn before it, its
`extra.tracelake.parent_turn_index` says so, and messages that repeat an earlier context are marked as copied.
**Keys of an ATIF source that no field of the lake holds** come back from `extra_json` (`atif_extras`).
"""

from __future__ import annotations

from typing import Any

from tracelake.consumers.exports.atif_content import OWN, atif_content, atif_tool_calls, moment_text
from tracelake.consumers.exports.atif_extras import COPIED, REFERENCE, place_of, put_back, taken_messages
from tracelake.consumers.exports.pinned_rollouts import Rollout, Row
from tracelake.consumers.exports.turn_rows import parsed, shortest
from tracelake.schemas.message import Message, content_text

SCHEMA_VERSION = "ATIF-v1.8"
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "agent"}
_IN_STEP = {"role", "content", "tool_calls", "reasoning_content"}
"""Keys of a message that a step has fields for."""
_METRICS = {
    "prompt_tokens": "prompt_token_count",
    "completion_tokens": "completion_token_count",
    "cached_tokens": "cached_token_count",
    "cost_usd": "cost_usd",
}
_OWN_OF_TURN = (
    "finish_reason",
    "truncated",
    "reasoning_token_count",
    "latency_ms",
    "response_id",
    "model_served",
    "policy_version_start",
    "policy_version_end",
    "logprob_source",
)
_OWN_OF_ROLLOUT = ("task_key", "environment", "substrate", "source_run", "group_id", "trial_index")


def atif_document(rollout: Rollout) -> dict[str, Any]:
    """A document of at least one step. The rollout must have a turn."""
    started, ended = rollout.started, rollout.ended
    agent = {
        "name": started["substrate"],
        "version": started["substrate_version"] or "unknown",
        "model_name": started["model_requested"],
        "tool_definitions": parsed(started["tools_json"]),
    }
    own = {name: started[name] for name in _OWN_OF_ROLLOUT} | {
        "task": parsed(started["task_json"]),
        "sampling": parsed(started["sampling_json"]),
        "config": parsed(started["config_json"]),
        "stop_reason": ended.get("stop_reason"),
        "exit_status": ended.get("exit_status"),
        "error": ended.get("error"),
        "submission": ended.get("submission"),
        "metrics": parsed(ended.get("metrics_json")),
    }
    steps_of_source = _entries(rollout)
    document = {
        "schema_version": SCHEMA_VERSION,
        "session_id": started["source_run"] or rollout.rollout_id,
        "trajectory_id": rollout.rollout_id,
        "agent": _present(agent),
        "steps": [{"step_id": number} | each for number, each in enumerate(steps_of_source, start=1)],
        "final_metrics": _final_metrics(rollout),
        "extra": {OWN: _present(own)},
    }
    for extra in (started["extra_json"], ended.get("extra_json")):
        put_back(document, parsed(extra), "trajectory")
    return document


def _final_metrics(rollout: Rollout) -> dict[str, Any]:
    summary, ended = rollout.summary, rollout.ended
    cost = ended.get("cost_usd")
    return _present(
        {
            "total_prompt_tokens": summary["prompt_token_count"],
            "total_completion_tokens": summary["completion_token_count"],
            "total_cost_usd": summary["cost_usd"] if cost is None else cost,
        }
    )


def _entries(rollout: Rollout) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    previous: int | None = None
    # A reply that did not join the context has a sibling with the same messages and more.
    written: dict[int | None, list[Message]] = {}
    for turn in rollout.turns:
        index, parent = turn["turn_index"], turn["parent_turn_index"]
        messages = rollout.new_messages(index)
        extra = parsed(turn["extra_json"])
        outputs = [] if parent is None else _visible(rollout, parent)
        rests = taken_messages(extra)
        # A context that starts again repeats messages that an earlier turn has seen.
        is_copied = parent is None and previous is not None
        position, before_rest = 0, dict[str, Any]()
        known = _shared_length(written.get(parent, []), messages)
        for number, message in enumerate(messages):
            if _is_result(message, outputs):
                continue
            rest = rests.get(str(position), {})
            if number >= known:
                _add_message(found, message, is_copied, rest, before_rest)
            position, before_rest = position + 1, rest
        written[parent] = messages
        found.append(_turn_step(rollout, turn, extra, continues=parent == previous))
        previous = index
    return found


def _shared_length(one: list[Message], other: list[Message]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((number for number, (a, b) in pairs if a != b), min(len(one), len(other)))


def _add_message(
    found: list[dict[str, Any]],
    message: Message,
    is_copied: bool,
    rest: dict[str, Any],
    before_rest: dict[str, Any],
) -> None:
    """A message of the context is a step, or a result of the step before it; `rest` is what its source says
    besides, `before_rest` the same of the message before it."""
    before = found[-1] if found else {}
    call_id = message.get("tool_call_id")
    is_answer = call_id is not None and call_id in _call_ids(before)
    is_result = is_answer or _follows_copied_calls(before, before_rest, message, rest)
    if not is_result and not (found and REFERENCE in rest):
        found.append(_message_step(message, is_copied))
        put_back(found[-1], rest, place_of(found[-1]))
        return
    result: dict[str, Any] = {"source_call_id": call_id} if is_answer else {}
    if message.get("content") or REFERENCE not in rest:
        result["content"] = atif_content(message.get("content"))
    put_back(result, rest, "result")
    before.setdefault("observation", {"results": []})["results"].append(result)


def _call_ids(written: dict[str, Any]) -> set[str]:
    return {call["tool_call_id"] for call in written.get("tool_calls") or []}


def _follows_copied_calls(before: dict[str, Any], before_rest: Any, message: Message, rest: Any) -> bool:
    """Whether a message is the result of calls that an ATIF source marks as copied: copied messages have that
    mark too, and results have none."""
    return (
        message["role"] == "user"
        and COPIED in before_rest
        and COPIED not in rest
        and bool(_call_ids(before))
        and "observation" not in before
    )


def _visible(rollout: Rollout, turn_index: int) -> list[str]:
    """Texts of a turn's results, as they joined the context."""
    return [result["visible_output"] or "" for result in rollout.results(turn_index)]


def _is_result(message: Message, outputs: list[str]) -> bool:
    """Whether the message is a result that is written as an observation; it is then taken from `outputs`.

    Some agents return results in messages of the user: the text decides."""
    text = content_text(message.get("content"))
    if message["role"] not in ("tool", "user") or text not in outputs:
        return False
    outputs.remove(text)
    return True


def _message_step(message: Message, is_copied: bool) -> dict[str, Any]:
    role = message["role"]
    written: dict[str, Any] = {
        "source": _ROLES.get(role, "user"),
        "message": atif_content(message.get("content")),
    }
    if role == "assistant":
        # A demonstration in the prompt, or an earlier action: no call of this rollout.
        written |= _action_fields(message, turn_index=None)
        is_copied = True
    if is_copied:
        written[COPIED] = True
    own = _without_field(message)
    if role not in _ROLES:
        own["role"] = role
    if own:
        written["extra"] = {OWN: own}
    return _present(written)


def _turn_step(rollout: Rollout, turn: Row, extra: Any, *, continues: bool) -> dict[str, Any]:
    index = turn["turn_index"]
    action = rollout.action(index)
    own = {name: turn[name] for name in _OWN_OF_TURN} | {"turn_index": index}
    if not continues:
        own["parent_turn_index"] = turn["parent_turn_index"]
    rest = _without_field(action)
    if rest:
        own["message"] = rest
    written: dict[str, Any] = {
        "source": "agent",
        "timestamp": moment_text(turn["occurred_at"]),
        "model_name": turn["model_requested"] or turn["model_served"],
        "message": atif_content(action.get("content")),
        **_action_fields(action, index),
        "metrics": _metrics(rollout, turn),
        "extra": {OWN: _present(own, keep=("parent_turn_index",))},
    }
    results = _observation(rollout, index, _call_ids(written))
    if results:
        written["observation"] = {"results": results}
    written = _present(written)
    put_back(written, extra, "agent_step")
    return written


def _action_fields(action: Message, turn_index: int | None) -> dict[str, Any]:
    reasoning = action.get("reasoning_content")
    return {
        "reasoning_content": reasoning if isinstance(reasoning, str) else None,
        "tool_calls": atif_tool_calls(action, turn_index) or None,
    }


def _without_field(message: Message) -> dict[str, Any]:
    """What a message has and a step has no field for."""
    rest = {name: value for name, value in message.items() if name not in _IN_STEP}
    reasoning = message.get("reasoning_content")
    if reasoning is not None and not isinstance(reasoning, str):
        rest["reasoning_content"] = reasoning
    return rest


def _observation(rollout: Rollout, turn_index: int, call_ids: set[str]) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    for result in rollout.results(turn_index):
        call_id, visible, raw = (result[name] for name in ("tool_call_id", "visible_output", "raw_output"))
        own = _present(
            {
                "tool_name": result["tool_name"],
                "raw_output": None if raw == visible else raw,
                "return_code": result["return_code"],
                "error": result["error"],
                "duration_ms": result["duration_ms"],
            }
        )
        written: dict[str, Any] = _present(
            {
                "source_call_id": call_id if call_id in call_ids else None,
                "content": raw if visible is None else visible,
                "extra": {OWN: own} if own else None,
            }
        )
        put_back(written, parsed(result["extra_json"]), "result")
        results.append(written)
    return results


def _metrics(rollout: Rollout, turn: Row) -> dict[str, Any] | None:
    prompt_ids = rollout.prompt_ids(turn["turn_index"])
    metrics = {
        **{name: turn[field] for name, field in _METRICS.items()},
        "prompt_token_ids": prompt_ids,
        "completion_token_ids": turn["completion_ids"],
        "logprobs": shortest(turn["sampling_logprobs"]),
    }
    return _present(metrics) or None


def _present(fields: dict[str, Any], keep: tuple[str, ...] = ()) -> dict[str, Any]:
    """Fields without nulls, as ATIF is written."""
    return {name: value for name, value in fields.items() if value is not None or name in keep}
