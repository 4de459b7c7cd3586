"""OpenHands: the event folder of its SDK (`base_state.json` with `events/event-*.json`), a file of events,
and `output.jsonl` of its benchmark harness.

Flow: events → `openhands_events` gives them one shape → `_Replay` rebuilds the context before each reply →
turns, tool results → rewards → RolloutEnded.

**One conversation is one rollout.** Its id is that of the conversation, of its first event, or of the first
response of a task's attempt.
**Actions with one response id are one turn**, however many events they are.
**A condensation begins a new root**: the model no longer saw what was forgotten. The call that wrote the
summary is no turn, because its prompt was not recorded.
**Token ids have no response id**: they follow their reply, before the next one.
**A file of events may still grow**: a last reply whose calls have no result yet may not be whole, so it is no
turn until the recording goes on; until then it is with the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from tracelake.producers.importers.conversion.chat import result_text, tools_text
from tracelake.producers.importers.conversion.fields import (
    mapping,
    sequence,
    token_ids,
    without_secrets,
)
from tracelake.producers.importers.conversion.model_response import completion_fields
from tracelake.producers.importers.conversion.record import Record
from tracelake.producers.importers.conversion.rollout_builder import MAIN_REWARD, Ending
from tracelake.producers.importers.conversion.tree_rollout import NewMessage, TreeRollout
from tracelake.producers.importers.formats.openhands_events import (
    Item,
    is_finish,
    read_item,
    time_of,
    tokens_by_reply,
    unfinished_reply,
)
from tracelake.producers.importers.identity import Identities
from tracelake.producers.importers.importer import (
    SHAPE_ERRORS,
    ImportedRollout,
    Importer,
    ImportOptions,
    Refusal,
    as_object,
    read_records,
    refusal_of,
)
from tracelake.producers.importers.json_text import parse_json
from tracelake.producers.importers.losses import Losses
from tracelake.producers.importers.source import Source, SourceRecord
from tracelake.schemas.canonical import canonical_text, hash_of
from tracelake.schemas.errors import SourceFormatError
from tracelake.schemas.message import Message, tools_key

FORMAT = "openhands"
GRADER = "openhands-benchmark"
EVENT_FOLDER, EVENT_FILES = "events", "event-*.json"
OUTPUT_KEYS = {"instance_id", "test_result", "history"}
_STATUS = {
    "finished": Ending("completed", False),
    "error": Ending("error", None),
    "stuck": Ending("error", None),
    "running": Ending("unfinished", None),
    "paused": Ending("unfinished", None),
    "idle": Ending("unfinished", None),
    "waiting_for_confirmation": Ending("unfinished", None),
}


class Conversation(NamedTuple):
    """What is recorded of one rollout."""

    position: int
    events: list[Record]
    whole: Record
    """The row of an `output.jsonl`, or the base state; empty for bare events."""
    metrics: Record
    """Usage and cost by response."""
    task: str | None


def claims(source: Source) -> bool:
    first = as_object(source.first)
    if first.keys() >= OUTPUT_KEYS:
        return type(first["history"]) is list
    # An event alone in its file belongs to the state of its folder.
    return _is_base_state(first) or (_is_event(first) and source.document is not source.first)


def _is_base_state(value: dict[str, Any]) -> bool:
    return value.keys() >= {"id", "agent", "workspace"} and ("stats" in value or "execution_status" in value)


def _is_event(value: dict[str, Any]) -> bool:
    if not value.keys() >= {"id", "source", "timestamp"}:
        return False
    if type(value.get("kind")) is str:
        return value["kind"].endswith(("Event", "Observation", "Condensation")) and value["source"] in (
            "agent",
            "user",
            "environment",
        )
    return ("action" in value and "args" in value) or ("observation" in value and "extras" in value)


def read(source: Source, options: ImportOptions) -> Iterator[ImportedRollout | Refusal]:
    identities = Identities("oh", source, options)
    first = as_object(source.first)
    if first.keys() >= OUTPUT_KEYS:
        return read_records(source, FORMAT, lambda record: _from_row(identities, options, record))
    return _read_one(source, identities, options, first)


def _read_one(
    source: Source, identities: Identities, options: ImportOptions, first: dict[str, Any]
) -> Iterator[ImportedRollout | Refusal]:
    """One conversation: a folder, or a file of events. A damaged event costs itself."""
    losses = Losses()
    events: list[Record] = []
    whole = Record(first if _is_base_state(first) else {}, "base_state.json", losses)
    if whole.source:
        found = (
            (index, data, None) for index, data in enumerate(source.below(EVENT_FOLDER, EVENT_FILES), start=1)
        )
    else:
        found = ((record.position, record.value, record.error) for record in source.records())
    for position, value, error in found:
        try:
            if error is not None:
                raise error
            value = parse_json(value) if type(value) is bytes else value
            events.append(Record(mapping(value, "event"), "event", losses))
        except SHAPE_ERRORS as bad:
            yield refusal_of(bad, line=position, format=FORMAT)
    try:
        usage = whole.record("stats").record("usage_to_metrics")
        metrics = next((usage.record(name) for name in usage.source), Record({}, "metrics", losses))
        yield _imported(identities, options, Conversation(1, events, whole, metrics, None))
    except SHAPE_ERRORS as bad:
        yield refusal_of(bad, format=FORMAT)


def _from_row(identities: Identities, options: ImportOptions, record: SourceRecord) -> ImportedRollout:
    row = Record(mapping(record.value, "row"), "$", Losses())
    if not row.source.keys() >= OUTPUT_KEYS:
        raise SourceFormatError(
            "a row without the keys of a result",
            got=", ".join(sorted(row.source))[:200],
            expected=", ".join(sorted(OUTPUT_KEYS)),
        )
    events: list[Record] = []
    for item in sequence(row.take("history"), "history"):
        # Old versions wrote pairs of an action and its observation.
        for event in item if type(item) is list else [item]:
            events.append(Record(mapping(event, "history[]"), "$.history[]", row.losses))
    metrics = row.record("metrics")
    return _imported(
        identities, options, Conversation(record.position, events, row, metrics, row.label("instance_id"))
    )


def _imported(identities: Identities, options: ImportOptions, conversation: Conversation) -> ImportedRollout:
    whole, losses = conversation.whole, conversation.whole.losses
    # Pairs of a history repeat an event that stands alone in another one.
    items = [_with_id(record, index) for index, record in enumerate(conversation.events)]
    attempt = whole.integer("attempt")
    identity = _identity(identities, conversation, items, attempt)
    tools = next((item.tools for item in items if item.tools), None)
    tools_json = tools_text(tools)
    rollout = TreeRollout(identity, losses, tools_json, conversation.position)
    configuration = {
        "agent": whole.take("agent"),
        "workspace": whole.take("workspace"),
        "metadata": whole.take("metadata"),
        "max_iterations": whole.integer("max_iterations"),
    }
    configuration = {key: value for key, value in configuration.items() if value is not None}
    instruction = whole.take("instruction") or next(
        (item.message["content"] for item in items if item.message and item.message["role"] == "user"), None
    )
    instance = whole.take("instance")
    environment = "openhands" if conversation.task is None else "openhands-benchmark"
    llm = as_object(as_object(configuration.get("agent")).get("llm"))
    llm = llm or as_object(as_object(configuration.get("metadata")).get("llm_config"))
    llm = llm or as_object(as_object(configuration.get("metadata")).get("llm"))
    if instruction is None and conversation.task is None:
        raise SourceFormatError(
            "a conversation that has not begun", got=f"{len(items)} events", expected="a user's message"
        )
    rollout.start(
        occurred_at=time_of(items[0].record) if items else None,
        task_key=f"{environment}:{conversation.task or hash_of(instruction)[:16]}",
        environment=environment,
        substrate=FORMAT,
        substrate_version=_version(items),
        source_run=options.run,
        trial_index=None if attempt is None else attempt - 1,
        model_requested=llm.get("model") if type(llm.get("model")) is str else None,
        tools_json=tools_json,
        tools_key=tools_key(tools_json),
        task_json=canonical_text({"instruction": instruction, "instance": instance}),
        config_json=canonical_text(without_secrets(configuration)) if configuration else None,
    )
    replay = _Replay(rollout, conversation.metrics, items, may_grow=conversation.task is None)
    for item in items:
        replay.add(item)
    replay.finish()
    _add_rewards(rollout, whole)
    return _end(rollout, conversation, replay)


def _version(items: list[Item]) -> str | None:
    """The event of the system prompt names it, before the SDK."""
    args = as_object(items[0].record.source.get("args")) if items else {}
    version = args.get("openhands_version")
    return version if type(version) is str else None


def _with_id(record: Record, index: int) -> Item:
    if record.source.get("id") is None:
        # The oldest versions had no ids.
        record.source = {**record.source, "id": index}
    return read_item(record)


def _identity(
    identities: Identities, conversation: Conversation, items: list[Item], attempt: int | None
) -> Any:
    whole, task = conversation.whole, conversation.task
    label = task or "conversation"
    if task is None and "id" in whole:
        return identities.own(label, whole.label("id"))
    first = next((item for item in items if type(item.record.source.get("kind")) is str), None)
    if first is not None:
        return identities.own(label, task, attempt, first.id)
    response_id = next((item.response_id for item in items if item.response_id), None)
    if response_id is not None:
        return identities.first_call(label, task, attempt, response_id)
    said = [record.source for record in conversation.events]
    sampled = any(item.type == "action" for item in items)
    return identities.content(label, task, attempt, said[:1] if sampled else said, is_unique=sampled)


class _Replay:
    """Goes through the events and rebuilds what the model saw before each reply."""

    def __init__(self, rollout: TreeRollout, metrics: Record, items: list[Item], *, may_grow: bool) -> None:
        self.other_events: list[dict[str, Any]] = []
        """Those that the model never saw."""
        self.errors: list[str] = []
        self.is_finished: str | None = None
        """What the agent said when it finished."""
        self._rollout = rollout
        self._context: list[tuple[str, Message, Record | None]] = []
        """(event, message) that the model would see now."""
        self._new_from = 0
        self._parent: int | None = None
        self._reply: list[Item] = []
        """The reply that is a turn as soon as another event follows it."""
        self._replies: dict[str, list[Item]] = {}
        """All actions of each reply: before the SDK, results lay between them."""
        for item in items:
            if item.type == "action":
                self._replies.setdefault(item.response_id or item.id, []).append(item)
        self._is_waiting = False
        """Whether the last reply was left out."""
        self._usages = _by_response(metrics.records("token_usages"))
        self._latencies = _by_response(metrics.records("response_latencies"))
        costs = metrics.records("costs")
        usages = list(self._usages)
        # Costs have no response id.
        self._costs = dict(zip(usages, costs, strict=True)) if len(costs) == len(usages) else {}
        self._tokens = tokens_by_reply(items)
        self._last_reply = unfinished_reply(items, self._tokens) if may_grow else None
        self._turn_count = 0

    def add(self, item: Item) -> None:
        if item.type == "action" and item.message is not None:
            reply = self._replies.get(item.response_id or item.id, [])
            if reply and reply[0] is item:
                self._add_turn()
                self._reply = reply
            return
        if item.type == "tokens" and any(tokens is item.record for tokens in self._tokens.values()):
            return
        if item.type in ("other", "tokens"):
            self.other_events.append({**item.record.take_all()})
            return
        self._add_turn()
        if self._is_waiting:
            self.other_events.append({**item.record.take_all()})
        elif item.type == "condensation":
            self._condense(item)
        elif item.type == "error":
            self.errors.append(f"{item.record.text('code')}: {item.record.text('detail')}")
            self.other_events.append(item.record.rest())
        elif item.message is not None:
            self._add_to_context(item, item.message)

    def finish(self) -> None:
        self._add_turn()
        for _, message, record in self._context[self._new_from :]:
            self._rollout.add_context(message, record)

    def _add_to_context(self, item: Item, message: Message) -> None:
        if item.type == "result" and item.result is not None and self._turn_count:
            call = self._rollout.calls.get(item.result["tool_call_id"] or "")
            turn_index = call.turn_index if call else self._turn_count - 1
            fields = {
                **item.result,
                "visible_output": result_text(message),
                "occurred_at": time_of(item.record),
            }
            self._rollout.add_result_of(turn_index, fields, item.record)
        self._context.append((item.id, message, item.record))

    def _add_turn(self) -> None:
        """The reply that ended before this event."""
        reply, self._reply = self._reply, []
        if not reply:
            return
        first = reply[0]
        if first.id == self._last_reply:
            self.other_events += [{**item.record.take_all()} for item in reply]
            self._is_waiting = True
            return
        action: Message = {**(first.message or {})}
        calls = [call for item in reply for call in (item.message or {}).get("tool_calls") or []]
        if calls:
            action["tool_calls"] = calls
        new: list[NewMessage] = [(message, record) for _, message, record in self._context[self._new_from :]]
        usage, records = self._fields(first, action)
        records += [item.record for item in reply]
        merged = _merged(records)
        self._parent = self._rollout.add_turn_after(self._parent, new, action, usage, *merged)
        for item in reply:
            critic = item.record.record("critic_result")
            score = critic.number("score")
            if score is not None:
                details = canonical_text(critic.source)
                self._rollout.add_reward(
                    "critic", score, FORMAT, turn_index=self._parent, details_json=details
                )
            self._note_finish(item)
        self._context += [(item.id, action, None) for item in reply[:1]]
        self._context += [(item.id, {}, None) for item in reply[1:]]
        self._new_from = len(self._context)
        self._turn_count += 1

    def _note_finish(self, item: Item) -> None:
        source = item.record.source
        action, args = as_object(source.get("action")), as_object(source.get("args"))
        if is_finish(item):
            said = action.get("message") or args.get("final_thought") or args.get("thought") or ""
            self.is_finished = said if type(said) is str else canonical_text(said)

    def _fields(self, first: Item, action: Message) -> tuple[dict[str, Any], list[Record]]:
        """Fields of TurnCompleted, and the records that they come from."""
        fields: dict[str, Any] = {}
        if first.response is not None:
            fields = completion_fields(first.response, action)
        occurred_at = time_of(first.record)
        fields["occurred_at"] = fields.get("occurred_at") or occurred_at
        response_id = first.response_id
        fields["response_id"] = response_id or fields.get("response_id")
        records: list[Record] = []
        usage = self._usages.get(response_id) if response_id else None
        if usage is not None:
            fields |= _usage_fields(usage)
            records.append(usage)
        latency = self._latencies.get(response_id) if response_id else None
        if latency is not None:
            latency.has_read("response_id", "model")
            fields["latency_ms"] = latency.milliseconds("latency")
        cost = self._costs.get(response_id) if response_id else None
        if cost is not None:
            fields["cost_usd"] = cost.number("cost")
            cost.has_read("model")
            cost.keep("timestamp")
        tokens = self._tokens.get(first.id)
        if tokens is not None:
            fields["prompt_ids"] = token_ids(tokens.take("prompt_token_ids"), "prompt_token_ids")
            fields["completion_ids"] = token_ids(tokens.take("response_token_ids"), "response_token_ids")
            records.append(tokens)
        return fields, records

    def _condense(self, item: Item) -> None:
        """Leave out what was forgotten, and put the summary in its place."""
        holder = item.record.record("args") if "args" in item.record.source else item.record
        summary, offset = holder.text("summary"), holder.integer("summary_offset")
        item.record.keep("llm_response_id")
        self._context = [each for each in self._context if each[0] not in item.forgotten]
        if summary is not None:
            message: Message = {"role": "user", "content": summary}
            place = len(self._context) if offset is None else max(0, min(offset, len(self._context)))
            self._context.insert(place, (item.id, message, item.record))
        else:
            self.other_events.append(item.record.rest())
        self._context = [each for each in self._context if each[1]]
        self._parent, self._new_from = None, 0


def _merged(records: list[Record]) -> list[Record]:
    """One record for the rests of all events of a reply, by their place in it."""
    rests = {str(index): rest for index, rest in enumerate(record.rest() for record in records) if rest}
    holder = Record({"events": rests} if rests else {}, "event", records[0].losses)
    holder.keep("events")
    return [holder]


def _by_response(records: list[Record]) -> dict[str, Record]:
    return {str(record.source.get("response_id")): record for record in records}


def _usage_fields(usage: Record) -> dict[str, Any]:
    usage.has_read("response_id")
    usage.keep("cache_write_tokens", "context_window", "per_turn_token")
    prompt, completion = usage.integer("prompt_tokens"), usage.integer("completion_tokens")
    return {
        "model_served": usage.text("model") or None,
        "prompt_token_count": prompt,
        "cached_token_count": usage.integer("cache_read_tokens"),
        "completion_token_count": completion,
        "reasoning_token_count": usage.integer("reasoning_tokens"),
    }


def _add_rewards(rollout: TreeRollout, whole: Record) -> None:
    """The harness adds its report to the row, if it graded the patch."""
    for holder in (whole, whole.record("test_result")):
        report = as_object(holder.source.get("report"))
        if type(report.get("resolved")) is bool:
            details = canonical_text(holder.take("report"))
            rollout.add_reward(MAIN_REWARD, float(report["resolved"]), GRADER, details_json=details)
            return


def _end(rollout: TreeRollout, conversation: Conversation, replay: _Replay) -> ImportedRollout:
    whole, metrics = conversation.whole, conversation.metrics
    status = whole.text("execution_status")
    error = whole.text("error")
    errors = [*replay.errors, *([error] if error else [])]
    ending = _STATUS.get(status or "", Ending("unknown", None))
    if replay.is_finished is not None and not errors:
        ending = Ending("completed", False)
    elif errors:
        by_limit = "maximum iteration" in errors[-1].lower() or "max_iterations" in errors[-1].lower()
        ending = Ending("max_turns", True, "max_turns") if by_limit else Ending("error", None)
    test_result = whole.record("test_result")
    patch = test_result.text("git_patch")
    cost = metrics.number("accumulated_cost")
    metrics.keep("model_name", "max_budget_per_task", "accumulated_token_usage", "costs")
    numbers = {
        "test_result": {**test_result.rest()},
        "other_events": replay.other_events,
        "runtime_runs": whole.take("runtime_runs"),
    }
    return rollout.end(
        ending,
        whole,
        recording_length=len(conversation.events),
        metrics={name: value for name, value in numbers.items() if value},
        exit_status=status,
        error="\n\n".join(errors) or None,
        submission=patch or replay.is_finished or None,
        cost_usd=cost,
    )


IMPORTER = Importer(
    FORMAT,
    claims,
    read,
    not_carried=(
        "log-probabilities",
        "token ids, unless the server was asked for them",
        "prompts of the calls that wrote summaries",
        "before the SDK: what the program added to results and prompts",
        "raw tool output apart from what the model saw",
        "times with a zone in most versions",
        "reward, unless the harness graded the patch",
    ),
)
