"""The transcript of one sample of Inspect as turns and tool results.

**Each model call states its whole context**: a call continues the turn whose context and reply begin it.
**Calls of scorers and of models with a role are no turns**; neither are calls that failed or have not ended.
They stay among the other events, in `extra_json` of the rollout's end.
**Token counts of a prompt contain what came from a cache**, which Inspect counts apart for some providers.
"""

from __future__ import annotations

from typing import Any

from tracelake.producers.importers.conversion.chat import read_message, result_text
from tracelake.producers.importers.conversion.fields import mapping
from tracelake.producers.importers.conversion.inspect_messages import message_record, pooled_messages
from tracelake.producers.importers.conversion.model_response import finish_fields
from tracelake.producers.importers.conversion.record import Record, rests_of
from tracelake.producers.importers.conversion.rollout_builder import RolloutBuilder
from tracelake.producers.importers.losses import Losses
from tracelake.schemas.errors import SourceFormatError
from tracelake.schemas.message import Message, canonical_arguments, tool_calls_of

POOLED_MESSAGES_MAX = 300_000
POOLED_CHARACTERS_MAX = 2**30
_NO_CONTENT = ("span_begin", "span_end", "step", "state", "store", "sample_init")
_REPEATS = "repeats the sample and its messages"
# Logs that were converted have them where the original has not.
_FOLLOWS = "follows from the times"
_DEFAULTS = {"intermediate": False, "pending": False}
_EXTRA_OF_EVENT = (
    "uuid", "span_id", "tool_choice", "config", "retries", "cache", "metadata", "pending",
    "completed", "role", "role_ref", "traceback", "traceback_ansi",
)  # fmt: skip
_EXTRA_OF_TOOL = (
    "uuid", "span_id", "timestamp", "type", "view", "events", "agent", "failed", "metadata",
    "pending", "completed", "message_id", "agent_span_id", "truncated", "internal",
)  # fmt: skip
_EXTRA_OF_OUTPUT = ("metadata", "error", "time", "completion")


def policy_calls(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The model calls of the policy, in their order."""
    found: list[dict[str, Any]] = []
    scorer_spans: set[Any] = set()
    scorer_depth = 0
    for event in events:
        kind = event.get("event")
        if kind == "span_begin":
            is_scorer = event.get("type") in ("scorer", "scorers") or event.get("parent_id") in scorer_spans
            if is_scorer and isinstance(event.get("id"), str):
                scorer_spans.add(event["id"])
        elif kind == "step" and event.get("type") == "scorer":
            scorer_depth += 1 if event.get("action") == "begin" else -1
        elif kind == "model" and scorer_depth <= 0 and not _is_in(event.get("span_id"), scorer_spans):
            output = event.get("output")
            answered = isinstance(output, dict) and bool(output.get("choices"))
            if answered and not (event.get("role") or event.get("pending")):
                found.append(event)
    return found


def _is_in(span_id: Any, spans: set[Any]) -> bool:
    return isinstance(span_id, str) and span_id in spans


class SampleTurns:
    """Adds the turns of one sample to its rollout."""

    def __init__(
        self,
        rollout: RolloutBuilder,
        losses: Losses,
        model: str | None,
        events: list[dict[str, Any]],
        calls: list[dict[str, Any]],
    ) -> None:
        """`calls` are those of the events that are turns."""
        self._rollout = rollout
        self._losses = losses
        self._model = model
        self._events = events
        self._calls = calls
        self._used: set[int] = set()
        """Events, by their place in memory, that became a turn or a result."""
        self._tool_events = {
            event["id"]: event
            for event in events
            if event.get("event") == "tool" and isinstance(event.get("id"), str)
        }
        self._known: list[Message] = []
        """Context and reply of the latest turn."""
        self._sources: list[Any] = []
        """The same messages as the source states them."""
        self._tools = next((event["tools"] for event in calls if event.get("tools")), [])
        """Those of the rollout."""
        self._arguments: dict[str, Any] = {}
        """Of the latest turn's calls, by their ids."""
        self._pooled_count, self._pooled_characters = 0, 0
        self._unseen: dict[str, Any] = {}
        """What is left of messages that no call stated."""

    def add_calls(self, pool: list[Any], messages: list[Any]) -> None:
        """The turns of the transcript, then what the sample's messages have after the last of them."""
        for call in self._calls:
            self._used.add(id(call))
            sources = pooled_messages(call, pool)
            self._require_bounded(call, sources)
            context, records = self._new_messages(sources, "$.samples[].events[].input[]")
            event = Record(call, "$.samples[].events[]", self._losses)
            action, fields, reply = self._reply(event)
            self._rollout.add_turn_at(context, action, fields, event, reply, context_records=records)
            self._known = [*context, action]
            self._sources = [*sources, call["output"]["choices"][0].get("message")]
        context, records = self._new_messages(messages, "$.samples[].messages[]")
        count = len(self._known)
        if context[:count] == self._known:
            for message in context[count:]:
                self._rollout.add_context(message)
        elif messages:
            self._losses.notes["the sample's messages do not continue its last model call"] += 1
        self._unseen = rests_of(records)

    def _require_bounded(self, call: dict[str, Any], sources: list[Any]) -> None:
        """Ranges of a pool are short, and what they stand for is not."""
        if not call.get("input_refs"):
            return
        texts = (source.get("content") if isinstance(source, dict) else None for source in sources)
        self._pooled_characters += sum(len(said) if isinstance(said, str) else 1000 for said in texts)
        self._pooled_count += len(sources)
        if self._pooled_count > POOLED_MESSAGES_MAX or self._pooled_characters > POOLED_CHARACTERS_MAX:
            raise SourceFormatError(
                "model calls whose contexts are too long together",
                got=f"{self._pooled_count} messages, {self._pooled_characters} characters",
                expected=f"{POOLED_MESSAGES_MAX} and {POOLED_CHARACTERS_MAX} at most",
            )

    def _new_messages(self, sources: list[Any], where: str) -> tuple[list[Message], list[Record]]:
        """The whole context, and the records of the messages that were not stated before. Results of tools
        among them belong to the latest turn if it is continued."""
        context: list[Message] = []
        records: list[Record] = []
        results: list[tuple[int, Message, Record]] = []
        for index, source in enumerate(sources):
            is_new = index >= len(self._sources) or self._sources[index] != source
            # A message that was stated before has its losses counted.
            record = message_record(source, where, self._losses if is_new else Losses())
            found = read_message(record)
            if is_new:
                records.append(record)
            results += [(len(context), each, record) for each in found if each["role"] == "tool"]
            context += found
        count = len(self._known)
        if count and context[:count] == self._known:
            for index, message, record in results:
                if index >= count:
                    self._add_result(message, record)
        return context, records

    def _reply(self, event: Record) -> tuple[Message, dict[str, Any], Record]:
        output = event.record("output")
        choices = output.records("choices")
        if not choices:
            raise SourceFormatError("a model call without a choice", expected="output.choices")
        choice = choices[0]
        where = "$.samples[].events[].output.choices[].message"
        reply = message_record(choice.take("message"), where, self._losses)
        [action] = read_message(reply)
        choice.keep("logprobs")
        self._arguments = {call_id: canonical_arguments(said) for call_id, _, said in tool_calls_of(action)}
        call = event.record("call")
        response = call.record("response")
        fields = {
            "model_requested": event.text("model") or self._model,
            "model_served": output.text("model"),
            "response_id": response.text("id"),
            "system_fingerprint": response.text("system_fingerprint"),
            **finish_fields(choice.text("stop_reason")),
            **_token_counts(output.record("usage")),
            "occurred_at": event.moment("completed") if "completed" in event else event.moment("timestamp"),
            "latency_ms": _latency_ms(event, output),
        }
        unread = [key for key in response.source if key not in ("id", "system_fingerprint")]
        response.drop("repeats the reply", *unread)
        call.drop("repeats the context", *(key for key in call.source if key not in ("response", "time")))
        call.keep("time")
        event.has_read("event", "input", "input_refs")
        if event.source.get("tools") == self._tools:
            event.has_read("tools")
        event.keep("tools")
        event.drop(_FOLLOWS, "working_start")
        event.keep("timestamp", *_EXTRA_OF_EVENT)
        output.keep(*_EXTRA_OF_OUTPUT)
        if output.source.get("completion") == action["content"]:
            output.has_read("completion")
        return action, fields, reply

    def add_messages(self, messages: list[Any], output: dict[str, Any]) -> None:
        """A sample without a transcript: its messages alone."""
        replies = sum(mapping(message, "messages[]").get("role") == "assistant" for message in messages)
        for source in messages:
            record = message_record(source, "$.samples[].messages[]", self._losses)
            for message in read_message(record):
                if message["role"] == "assistant":
                    fields: dict[str, Any] = {"model_requested": self._model}
                    last = Record({}, "$.samples[].output", self._losses)
                    if self._rollout.turn_count == replies - 1:
                        last = Record(output, "$.samples[].output", self._losses)
                        fields |= self._output_fields(last, alone=replies == 1)
                    self._rollout.add_turn(message, fields, record, last)
                    continue
                if message["role"] == "tool" and self._rollout.turn_count:
                    self._add_result(message, record)
                self._rollout.add_context(message, record)

    def _output_fields(self, output: Record, *, alone: bool) -> dict[str, Any]:
        choices = output.records("choices")
        fields: dict[str, Any] = {"model_served": output.text("model")}
        if choices:
            fields |= finish_fields(choices[0].text("stop_reason"))
            choices[0].drop("the same as the last message", "message")
            choices[0].keep("logprobs")
        usage = output.record("usage")
        counts = _token_counts(usage)
        latency_ms = output.milliseconds("time")
        output.keep("metadata", "error")
        output.drop("the same as the last message", "completion")
        if alone:
            fields |= counts
            fields["latency_ms"] = latency_ms
        return fields

    def _add_result(self, message: Message, record: Record) -> None:
        call_id = message.get("tool_call_id")
        name = record.text("function") or self._rollout.called_tool(call_id)
        event = self._tool_events.pop(call_id, None) if call_id else None
        failure = record.record("error")
        fields: dict[str, Any] = {
            "tool_call_id": call_id,
            "tool_name": name,
            "visible_output": result_text(message),
            "error": failure.text("message") or failure.text("type"),
        }
        failure.keep("type")
        if event is None:
            self._rollout.add_tool_result(fields)
            return
        self._used.add(id(event))
        tool = Record(event, "$.samples[].events[]", self._losses)
        fields["duration_ms"] = tool.milliseconds("working_time")
        fields["visible_truncated"] = True if tool.source.get("truncated") else None
        fields["occurred_at"] = tool.moment("completed") or tool.moment("timestamp")
        fields["error"] = fields["error"] or tool.record("error").text("message")
        tool.has_read("event", "id", "function", "timestamp")
        if tool.source.get("arguments") == self._arguments.get(call_id or ""):
            tool.has_read("arguments")
        if tool.source.get("result") == fields["visible_output"]:
            tool.has_read("result")
        tool.drop(_FOLLOWS, "working_start")
        tool.keep("result", "error", "arguments", *_EXTRA_OF_TOOL)
        tool.record("error").keep("type")
        self._rollout.add_tool_result(fields, tool)

    def rest(self) -> dict[str, Any]:
        """Messages and events that became nothing else, without those that only repeat."""
        found = {"events": self._other_events(), "messages_at_the_end": self._unseen}
        return {key: value for key, value in found.items() if value}

    def _other_events(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for event in self._events:
            if id(event) in self._used:
                continue
            if event.get("event") in _NO_CONTENT:
                known = Record(event, "$.samples[].events[]", self._losses)
                known.drop(_REPEATS, *event)
                continue
            extra = Record(event, "$.samples[].events[]", self._losses)
            extra.drop(_FOLLOWS, "working_start")
            found.append(
                {
                    key: value
                    for key, value in event.items()
                    if key != "working_start" and _DEFAULTS.get(key) is not value
                }
            )
        return found


def _token_counts(usage: Record) -> dict[str, Any]:
    prompt, completion = usage.integer("input_tokens"), usage.integer("output_tokens")
    total = usage.integer("total_tokens")
    cached = usage.integer("input_tokens_cache_read")
    if prompt is not None and completion is not None and total is not None and total > prompt + completion:
        prompt = total - completion
    usage.keep("input_tokens_cache_write", "total_tokens")
    counted = bool(prompt or completion)
    return {
        "prompt_token_count": prompt if counted else None,
        "cached_token_count": cached,
        "completion_token_count": completion if counted else None,
        "reasoning_token_count": usage.integer("reasoning_tokens"),
        "cost_usd": usage.number("total_cost"),
    }


def _latency_ms(event: Record, output: Record) -> float | None:
    """The time at work, without waiting for a rate limit; else the time of the call."""
    working_ms = event.milliseconds("working_time")
    return output.milliseconds("time") if working_ms is None else working_ms
