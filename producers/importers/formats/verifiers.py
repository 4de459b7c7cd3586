"""Rows of verifiers' `results.jsonl` (0.1.x and before), with the run's `metadata.json` beside it.

**A row is one rollout**; its identity is the run's folder and its line, because ids repeat within a file and
differ between runs of one environment.
**The same question with the same reference answer is the same task**, whatever its id.
**A text completion is no chat**: its prompt stands in the context under the role `text`, so that its state
never equals that of a chat.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from tracelake.producers.importers.chat import TurnsBuilder, chat_message, chat_messages, tools_text
from tracelake.producers.importers.fields import mapping, text, without_secrets
from tracelake.producers.importers.formats.verifiers_columns import (
    ended,
    example_of,
    rewards,
    sampled,
    task_of,
    tool_definitions,
)
from tracelake.producers.importers.source import (
    SHAPE_ERRORS,
    Imported,
    Importer,
    Opened,
    Refused,
    Row,
    Siblings,
    SourceFile,
    parsed,
    refused,
    rollout_id_of,
    rows,
)
from tracelake.schemas.canonical import canonical_text, hash_of
from tracelake.schemas.events.rollout_events import RolloutStarted, ToolReturned
from tracelake.schemas.message import Message, content_text, tools_key

FORMAT = "verifiers"
COLUMNS = {"prompt", "completion", "reward"}


class Run(NamedTuple):
    """One evaluation: a results file and what its metadata says."""

    source: SourceFile
    metadata: dict[str, Any]
    environment: str
    model: str | None
    name: str
    """Environment, model and run folder: `wiki-search--gpt-5/73850758`."""
    notes: tuple[str, ...] = ()


def claims(opened: Opened) -> bool:
    row = opened.document if opened.first_row is None else opened.first_row
    return isinstance(row, dict) and row.keys() >= COLUMNS


def read(opened: Opened, siblings: Siblings) -> Iterator[Imported | Refused]:
    source = opened.source
    try:
        run = _run(source, siblings)
    except SHAPE_ERRORS as error:
        yield refused(error, data=source.data, format=FORMAT)
        return
    trials: Counter[str] = Counter()
    whole = opened.first_row is None
    for row in [Row(1, source.data)] if whole else rows(source.data):
        try:
            fields = mapping(parsed(row.data), "row")
            example = example_of(fields)
            # A refused row counts as a trial too, so that its repair does not renumber the others.
            trials[example] += 1
            yield _Reader(run, row.line, fields, trials[example] - 1).imported()
        except SHAPE_ERRORS as error:
            yield refused(error, line=row.line, data=row.data, format=FORMAT)


def _run(source: SourceFile, siblings: Siblings) -> Run:
    found = siblings.metadata(source)
    metadata = mapping(parsed(found), "metadata.json") if found is not None else {}
    folder = source.parts[-3] if len(source.parts) > 2 else ""
    environment = text(metadata.get("env_id") or metadata.get("env"), "metadata.json: env")
    notes = () if found is not None else ("no metadata.json of this run was found: its model is unknown",)
    return Run(
        source,
        metadata,
        environment or (folder.split("--")[0] if "--" in folder else FORMAT),
        text(metadata.get("model"), "metadata.json: model"),
        "/".join(source.parts[-3:-1]),
        notes,
    )


class _Reader:
    """One row."""

    def __init__(self, run: Run, line: int, row: dict[str, Any], trial_index: int) -> None:
        self._run = run
        self._line = line
        self._row = row
        self._trial_index = trial_index
        self._rollout_id = rollout_id_of("vf", run.name, [run.source.name, line])
        self._tools_json = tools_text(tool_definitions(row))
        self._turns = TurnsBuilder(self._rollout_id, self._tools_json)
        self._calls: list[Message] = []
        self._answered = 0
        self._result_total = 0
        self._result_count = 0

    def imported(self) -> Imported:
        events = self._turns.events
        prompt, completion = self._row["prompt"], self._row["completion"]
        events.append(self._started(prompt))
        if type(prompt) is str:
            self._turns.add_context({"role": "text", "content": prompt})
        else:
            for message in chat_messages(prompt, "prompt"):
                self._turns.add_context(message)
        said = self._take_text(completion) if type(completion) is str else self._take_chat(completion)
        given = rewards(self._rollout_id, self._row, self._line)
        events += given
        events.append(ended(self._turns, self._row, self._line))
        main = [event.score for event in given if event.name == "reward"]
        return Imported(
            self._rollout_id,
            events,
            said,
            self._result_count,
            other_turn_count=self._turns.turn_count - said,
            reward=sum(score for score in main if score is not None),
            reward_count=len(given),
            notes=self._run.notes,
        )

    def _take_text(self, completion: str) -> int:
        self._turns.add_turn({"role": "assistant", "content": completion}, self._turn_fields({}))
        return 0

    def _take_chat(self, completion: Any) -> int:
        messages = chat_messages(completion, "completion")
        replies = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
        extras = sampled(self._row, [messages[place] for place in replies])
        for place, message in enumerate(messages):
            if message["role"] == "assistant":
                self._turns.add_turn(message, self._turn_fields(extras[self._turns.turn_count]))
                self._calls, self._answered = message.get("tool_calls") or [], 0
                self._result_total = _results_after(messages, place)
                continue
            if message["role"] == "tool" and self._turns.turn_count:
                self._take_result(message, seen=place < replies[-1])
            self._turns.add_context(message)
        return len(replies)

    def _turn_fields(self, extra: dict[str, Any]) -> dict[str, Any]:
        return {"model_requested": self._run.model, "source_position": self._line, **extra}

    def _take_result(self, message: Message, *, seen: bool) -> None:
        content = content_text(message["content"])
        call = self._call_of(message)
        self._turns.events.append(
            ToolReturned(
                rollout_id=self._rollout_id,
                turn_index=self._turns.turn_count - 1,
                call_index=self._answered,
                tool_call_id=message.get("tool_call_id") or (call["id"] if call else None),
                tool_name=call["function"]["name"] if call else None,
                raw_output=None if seen else content,
                visible_output=content if seen else None,
                source_position=self._line,
            )
        )
        self._answered += 1
        self._result_count += 1

    def _call_of(self, message: Message) -> Message | None:
        """By id; where the recorder kept no ids, by order, if every call has its result."""
        call_id = message.get("tool_call_id")
        if call_id:
            return next((call for call in self._calls if call["id"] == call_id), None)
        return self._calls[self._answered] if len(self._calls) == self._result_total else None

    def _started(self, prompt: Any) -> RolloutStarted:
        run, row = self._run, self._row
        question = _question(prompt)
        answer = row.get("answer")
        task = hash_of([question, answer if isinstance(answer, str) else canonical_text(answer)])
        metadata = without_secrets(run.metadata)
        sampling = metadata.get("sampling_args") or _old_sampling(metadata)
        example = example_of(row)
        return RolloutStarted(
            rollout_id=self._rollout_id,
            task_key=f"{run.environment}:{task[:16]}",
            environment=run.environment,
            substrate=FORMAT,
            source_run=run.name,
            group_id=f"{run.name}/{example}" if example else None,
            trial_index=self._trial_index if example else None,
            model_requested=run.model,
            tools_json=self._tools_json,
            tools_key=tools_key(self._tools_json),
            sampling_json=canonical_text(sampling) if sampling else None,
            task_json=canonical_text(task_of(row, question)),
            config_json=canonical_text(metadata) if metadata else None,
            source_position=self._line,
        )


def _results_after(messages: list[Message], place: int) -> int:
    count = 0
    while place + 1 + count < len(messages) and messages[place + 1 + count]["role"] == "tool":
        count += 1
    return count


def _question(prompt: Any) -> str:
    """What was asked: the last user message, without the instructions around it, which differ between
    versions."""
    if type(prompt) is str:
        return prompt
    asked = [message for message in map(chat_message, prompt or []) if message["role"] == "user"]
    return content_text(asked[-1]["content"]) if asked else ""


def _old_sampling(metadata: dict[str, Any]) -> dict[str, Any]:
    return {name: metadata[name] for name in ("max_tokens", "temperature") if name in metadata}


IMPORTER = Importer(
    FORMAT,
    claims,
    read,
    not_carried=(
        "model served and response id of each call",
        "usage, cost and times of each call, unless the trajectory column was saved",
        "token ids and logprobs, unless the trajectory column was saved",
        "raw tool output apart from what the model saw",
        "call ids of tool results in most versions: paired by order",
        "a time with a zone",
        "reason of the stop before 0.1.9",
    ),
)
