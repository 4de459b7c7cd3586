"""Responses of OpenAI's Responses API: output of a batch, bare responses, logs of requests with responses.
Output of Anthropic's batches too.

Flow: each line → `Call` → calls that continue each other → one rollout for each chain.

**A chain is one rollout**: calls that name each other in `previous_response_id`, or whose input repeats the
items of an earlier response. Its identity is its first response; a later call makes the recording longer.
**A call whose request is missing has an unknown context**: one message of the role `missing`, with the name
of the call, stands for it, so that its state equals no other.
**A call that failed is a rollout of zero turns**, with the error that the API returned.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

from tracelake.producers.importers.conversion.chat import read_message, read_messages, tools_text
from tracelake.producers.importers.conversion.fields import label, mapping, sequence, text, without_secrets
from tracelake.producers.importers.conversion.model_response import (
    completion_fields,
    finish_fields,
    response_fields,
)
from tracelake.producers.importers.conversion.record import Record
from tracelake.producers.importers.conversion.responses import (
    ItemMessage,
    as_one_record,
    item_messages,
    item_records,
    items_message,
    response_tools_text,
)
from tracelake.producers.importers.conversion.rollout_builder import Ending, RolloutBuilder
from tracelake.producers.importers.identity import Identities
from tracelake.producers.importers.importer import (
    SHAPE_ERRORS,
    ImportedRollout,
    Importer,
    ImportOptions,
    Refusal,
    as_object,
    refusal_of,
)
from tracelake.producers.importers.losses import Losses
from tracelake.producers.importers.source import Source, SourceRecord
from tracelake.schemas.canonical import canonical_text, hash_of
from tracelake.schemas.errors import SourceFormatError
from tracelake.schemas.events.rollout_events import TurnCompleted
from tracelake.schemas.message import Message, content_text, tools_key

FORMAT = "openai-responses"
CONTEXT_MESSAGES_MAX = 300_000
"""Of all calls of one rollout, where calls branch."""
SAMPLING = (
    "temperature", "top_p", "max_output_tokens", "max_tokens", "reasoning", "text", "tool_choice",
    "parallel_tool_calls", "truncation", "max_tool_calls", "service_tier", "thinking", "stop_sequences",
)  # fmt: skip
_ANTHROPIC_RESULTS = ("succeeded", "errored", "canceled", "expired")
_FAILED = ("failed", "cancelled", "canceled")


class Call(NamedTuple):
    """One line: a request, if it was recorded, and what came back."""

    position: int
    line: Record
    request: Record
    response: Record
    name: str
    """The name that the caller gave it, or the response's id."""
    error: Any


def claims(source: Source) -> bool:
    return _is_call(as_object(source.first))


def _is_call(line: dict[str, Any]) -> bool:
    if _is_response(line):
        return True
    response = as_object(line.get("response"))
    if "custom_id" in line:
        result = as_object(line.get("result"))
        of_batch = "error" in line and ("body" in response or line.get("response") is None)
        return of_batch or result.get("type") in _ANTHROPIC_RESULTS
    return "request" in line and _is_response(response)


def _is_response(value: dict[str, Any]) -> bool:
    return value.get("object") == "response" and isinstance(value.get("output"), list)


def read(source: Source, options: ImportOptions) -> Iterator[ImportedRollout | Refusal]:
    identities = Identities("resp", source, options)
    chains = Chains()
    for record in source.records():
        try:
            if record.error is not None:
                raise record.error
            call = _call(record)
            if chains.add(call):
                continue
            yield _imported(identities, options, [call])
        except SHAPE_ERRORS as error:
            yield refusal_of(error, line=record.position, data=record.data, format=FORMAT)
    for chain in chains.chains:
        try:
            yield _imported(identities, options, chain)
        except SHAPE_ERRORS as error:
            yield refusal_of(error, line=chain[0].position, format=FORMAT)


class Chains:
    """Calls of which one may continue another. Calls of a batch without links stand alone."""

    def __init__(self) -> None:
        self.chains: list[list[Call]] = []
        self._by_id: dict[str, int] = {}
        """Chain by the ids of its responses and of their items."""

    def add(self, call: Call) -> bool:
        """False for a call that nothing can continue."""
        response = call.response.source
        previous = call.request.source.get("previous_response_id") or response.get("previous_response_id")
        if not _is_response(response) or ("custom_id" in call.line.source and not previous):
            return False
        links = [previous, *_item_ids(call.request.source.get("input"))]
        known = [self._by_id[link] for link in links if isinstance(link, str) and link in self._by_id]
        place = known[0] if known else len(self.chains)
        if not known:
            self.chains.append([])
        self.chains[place].append(call)
        own = [response.get("id"), *_item_ids(response.get("output"))]
        self._by_id |= {name: place for name in own if isinstance(name, str) and name}
        return True


def _item_ids(items: Any) -> list[Any]:
    """What names an item in a later request."""
    found: list[Any] = []
    for item in items if isinstance(items, list) else []:
        found += [as_object(item).get("id"), as_object(item).get("call_id")]
    return found


def _call(record: SourceRecord) -> Call:
    losses = Losses()
    line = Record(mapping(record.value, "line"), "$", losses)
    source = line.source
    if not _is_call(source):
        raise SourceFormatError("no response of an API", got=", ".join(sorted(map(str, source)))[:200])
    if _is_response(source):
        line.take_all()
        nothing = Record({}, "$.request", losses)
        response = Record(source, "$", losses)
        return Call(record.position, Record({}, "$", losses), nothing, response, str(source.get("id")), None)
    line.keep("id")
    custom_id = label(line.take("custom_id"), "custom_id")
    error = line.take("error")
    request = Record(mapping(line.take("request"), "request"), "$.request", losses)
    if "body" in request:
        line.add_rest("request", {key: value for key, value in request.source.items() if key != "body"})
        request = Record(mapping(request.source["body"], "request.body"), "$.request.body", losses)
    if "result" in line:
        result = line.record("result")
        response = result.record("message")
        kind = result.text("type")
        error = result.take("error") or (None if kind == "succeeded" else {"type": kind})
    else:
        outer = line.record("response")
        response = outer.record("body") if "body" in outer else outer
        status = outer.integer("status_code") if "body" in outer else None
        outer.keep("request_id", "headers")
        if status is not None and status >= 400:
            error = response.take("error") or {"status_code": status}
    return Call(record.position, line, request, response, custom_id or str(response.source.get("id")), error)


def _imported(identities: Identities, options: ImportOptions, chain: list[Call]) -> ImportedRollout:
    first = chain[0]
    losses = first.line.losses
    for call in chain[1:]:
        losses.add(call.line.losses)
        for record in (call.line, call.request, call.response):
            record.losses = losses
    response_id = first.response.source.get("id") or first.line.source.get("id")
    if response_id:
        identity = identities.own(first.name, response_id)
    else:
        identity = identities.content(first.name, first.line.source, is_unique=bool(first.response.source))
    request = first.request
    described = request if request.source else first.response
    tools_json = _tools_json(described)
    rollout = RolloutBuilder(identity, losses, tools_json, position=first.position)
    sampling = {name: described.source[name] for name in SAMPLING if described.source.get(name) is not None}
    asked = [request.source.get(key) for key in ("instructions", "system", "input", "messages")]
    known = any(part is not None for part in asked)
    task_key = f"{FORMAT}:{hash_of(asked)[:16] if known else first.name}"
    model = label(described.source.get("model"), "model")
    rollout.start(
        task_key=task_key,
        environment=FORMAT,
        substrate=FORMAT,
        source_run=options.run,
        group_id=f"{options.run}/{task_key}" if options.run else None,
        model_requested=model,
        tools_json=tools_json,
        tools_key=tools_key(tools_json),
        sampling_json=canonical_text(without_secrets(sampling)) if sampling else None,
        task_json=canonical_text({"custom_id": first.name}),
    )
    _add_calls(rollout, chain)
    return _end(rollout, chain)


def _tools_json(record: Record) -> str | None:
    tools = sequence(record.source.get("tools"), "tools")
    nested = any("function" in as_object(tool) for tool in tools)
    return tools_text(tools) if nested else response_tools_text(tools)


def _add_calls(rollout: RolloutBuilder, chain: list[Call]) -> None:
    """The calls as turns. A call sees its own instructions, what the response before it saw, its input."""
    histories: dict[str, list[Message]] = {}
    is_linear = _is_linear(chain)
    message_count = 0
    for call in chain:
        request, response = call.request, call.response
        previous = _previous(call) or ""
        instructions = _instructions(request)
        new = _input_messages(request)
        history = histories.get(previous, [])
        if not (instructions or history or new):
            missing: Message = {"role": "missing", "content": previous or call.name}
            new = [ItemMessage(missing, [Record({}, request.where, request.losses)])]
            request.note("the request is not in this file: its context is unknown")
        replied = _reply(response) if response.source and call.error is None else None
        request.has_read("previous_response_id")
        if replied is None:
            continue
        action, fields, items = replied
        fields["model_requested"] = label(request.take("model"), "request.model") or fields.get(
            "model_served"
        )
        request.has_read("input", "tools", *SAMPLING)
        own = (call.line, request, response, *items)
        if rollout.turn_count:
            _add_results(rollout, new)
        if is_linear:
            for message, records in [*(instructions if not rollout.turn_count else []), *new]:
                rollout.add_context(message, *as_one_record(records))
            rollout.add_turn(action, fields, *own)
            continue
        history = [*history, *(message for message, _ in new)]
        context = [*(message for message, _ in instructions), *history]
        message_count += len(context)
        if message_count > CONTEXT_MESSAGES_MAX:
            raise SourceFormatError(
                "calls whose contexts are too long together",
                got=f"more than {CONTEXT_MESSAGES_MAX} messages",
                cure="Split the file at calls that begin anew.",
            )
        said = [record for _, records in (*instructions, *new) for record in as_one_record(records)]
        rollout.add_turn_at(context, action, fields, *own, context_records=said)
        histories[str(response.source.get("id"))] = [*history, action]


def _is_linear(chain: list[Call]) -> bool:
    """Whether each call continues the one before it, under the same instructions."""
    for before, call in pairwise(chain):
        if _previous(call) is None or _previous(call) != before.response.source.get("id"):
            return False
        if call.request.source.get("instructions") != chain[0].request.source.get("instructions"):
            return False
    return all(call.error is None and call.response.source.get("output") for call in chain)


def _previous(call: Call) -> str | None:
    """The id of the response that a call continues."""
    found = call.request.source.get("previous_response_id")
    return text(found or call.response.source.get("previous_response_id"), "previous_response_id")


def _add_results(rollout: RolloutBuilder, new: list[ItemMessage]) -> None:
    """Results of the latest turn's calls, which the next request brings."""
    for message, _ in new:
        call_id = message.get("tool_call_id")
        name = rollout.called_tool(call_id)
        if message["role"] == "tool" and name is not None:
            visible = content_text(message["content"])
            rollout.add_tool_result({"tool_call_id": call_id, "tool_name": name, "visible_output": visible})


def _instructions(request: Record) -> list[ItemMessage]:
    found: list[ItemMessage] = []
    for key in ("instructions", "system"):
        if request.source.get(key):
            message = {"role": "system", "content": request.take(key)}
            system = Record(message, f"{request.where}.{key}", request.losses)
            found += [ItemMessage(each, [system]) for each in read_message(system)]
    return found


def _input_messages(request: Record) -> list[ItemMessage]:
    found = item_messages(item_records(request.take("input"), f"{request.where}.input", request.losses))
    for record in request.records("messages"):
        found += [ItemMessage(message, [record]) for message in read_messages([record])]
    return found


def _reply(response: Record) -> tuple[Message, dict[str, Any], list[Record]] | None:
    """The assistant message and its fields; null if the model said nothing."""
    if response.source.get("object") == "response":
        items = response.records("output")
        fields = response_fields(response)
        return (items_message(items), fields, []) if items else None
    if "choices" in response:
        choices = response.records("choices")
        if not choices:
            return None
        fields = completion_fields(response)
        [action] = read_message(choices[0].record("message"))
        return action, fields, []
    if response.source.get("type") == "message":
        message = Record(
            {"role": "assistant", "content": response.take("content")}, f"{response.where}", response.losses
        )
        [action] = read_message(message)
        return action, _anthropic_fields(response), [message]
    keys = ", ".join(sorted(map(str, response.source)))[:200]
    raise SourceFormatError("a body that is no response", got=keys)


def _anthropic_fields(response: Record) -> dict[str, Any]:
    usage = response.record("usage")
    new = usage.integer("input_tokens")
    read, written = usage.integer("cache_read_input_tokens"), usage.integer("cache_creation_input_tokens")
    usage.keep("cache_creation", "service_tier", "server_tool_use", "inference_geo")
    response.has_read("role", "type")
    response.keep("stop_sequence", "container", "context_management")
    return {
        "model_served": response.text("model"),
        "response_id": response.text("id"),
        **finish_fields(response.text("stop_reason")),
        "prompt_token_count": None if new is None else new + (read or 0) + (written or 0),
        "cached_token_count": read,
        "completion_token_count": usage.integer("output_tokens"),
    }


def _end(rollout: RolloutBuilder, chain: list[Call]) -> ImportedRollout:
    last = chain[-1]
    source = last.response.source
    error = last.error or source.get("error")
    status = source.get("status") or source.get("stop_reason")
    reason = as_object(source.get("incomplete_details")).get("reason")
    turns = [event for event in rollout.events if isinstance(event, TurnCompleted)]
    if error or status in _FAILED or not rollout.turn_count:
        ending = Ending("error", None)
    elif reason == "max_output_tokens" or status == "max_tokens":
        ending = Ending("max_tokens", True, "max_tokens")
    elif reason:
        ending = Ending("unknown", True, str(reason))
    elif any(turn.turn_index == rollout.turn_count - 1 and turn.tool_call_count for turn in turns):
        # The reply asks for tools whose results are not here.
        ending = Ending("unknown", None)
    else:
        ending = Ending("completed", False)
    rests = [record for call in chain for record in (call.line, call.request, call.response)]
    return rollout.end(
        ending,
        *rests,
        exit_status=reason if isinstance(reason, str) else status if isinstance(status, str) else None,
        error=None if not error else error if isinstance(error, str) else canonical_text(error),
    )


IMPORTER = Importer(
    FORMAT,
    claims,
    read,
    not_carried=(
        "the request, in the output of a batch and in bare responses",
        "cost",
        "latency of a call",
        "token ids",
        "rewards",
    ),
)
