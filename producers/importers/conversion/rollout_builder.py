"""Collects the events of one rollout, in the order in which they happened.

**A turn stores the messages and token ids that are new since its parent's.** A reply that the source dropped
from the context is a turn too, with no child: the next turn continues the one before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel

from tracelake.producers.importers.conversion.chat import (
    call_names,
    message_text,
    messages_text,
    read_message,
)
from tracelake.producers.importers.conversion.fields import without_secrets
from tracelake.producers.importers.conversion.record import Record, extra_text, rests_of
from tracelake.producers.importers.identity import RolloutIdentity
from tracelake.producers.importers.importer import ImportedRollout, Submission
from tracelake.producers.importers.losses import Losses
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.events.event import Event
from tracelake.schemas.events.rollout_events import (
    RewardAssigned,
    RolloutEnded,
    RolloutStarted,
    StopReason,
    ToolReturned,
    TurnCompleted,
)
from tracelake.schemas.message import Message, StateHasher
from tracelake.schemas.tokens import PromptEncoder

EventType = TypeVar("EventType", bound=Event)
MAIN_REWARD = "reward"


class Ending(NamedTuple):
    """Why a rollout stopped, and what cut it off; null if nothing did or the source does not say."""

    stop_reason: StopReason
    truncated: bool | None
    truncated_by: str | None = None


class RolloutBuilder:
    """The events of one rollout, and the numbers of its report.

    `fields` are fields of the event class by name; the builder adds those that follow from the order. The
    records that a call names give what is left of them to the event's `extra_json`."""

    def __init__(
        self,
        identity: RolloutIdentity,
        losses: Losses,
        tools_json: str | None = None,
        position: int | None = None,
    ) -> None:
        """`position` is the `source_position` of events that name no other."""
        self.rollout_id = identity.rollout_id
        self.events: list[Event] = []
        self.turn_count = 0
        self.tool_result_count = 0
        self.message_count = 0
        """Messages of the recording so far, replies included."""
        self.turn_result_count = 0
        """Results of the latest turn's calls so far."""
        self._identity = identity
        self._losses = losses
        self._tools_json = tools_json
        self._position = position
        self._parent: int | None = None
        self._new_messages: list[Message] = []
        """Since the action of the parent turn."""
        self._new_records: list[Record] = []
        """Those of the new messages."""
        self._hasher = StateHasher(tools_json)
        self._prompts = PromptEncoder()
        self._call_names: dict[str, str] = {}
        """Of the latest turn: tool name by call id."""
        self._stated_turns: list[list[Message]] = []
        """Context and action of each turn, for sources that state whole contexts."""
        self._stated_sources: list[list[dict[str, Any]]] = []
        """The context of each as its source has it."""

    def start(self, *records: Record, **fields: Any) -> None:
        """`RolloutStarted`. Nothing in it may change while the recording grows."""
        fields["rollout_id"] = self.rollout_id
        fields["extra_json"] = extra_text(*records)
        fields.setdefault("source_position", self._position)
        self.events.append(RolloutStarted(**fields))

    def add_context(self, message: Message, record: Record | None = None) -> None:
        """A message joins the context; what is left of its record goes to the next turn."""
        self._new_messages.append(message)
        self._hasher.add(message)
        self.message_count += 1
        if record is not None:
            self._new_records.append(record)

    def read_context(self, record: Record) -> None:
        """Read the messages of a record into the context."""
        for message in read_message(record):
            self.add_context(message)
        self._new_records.append(record)

    def add_turn(
        self, action: Message, fields: dict[str, Any], *records: Record, in_context: bool = True
    ) -> None:
        """One model call; `in_context` is false for a reply that never joined the context. `fields` may have
        the whole `prompt_ids` and the `completion_ids`."""
        prompt_ids = fields.pop("prompt_ids", None)
        completion_ids = fields.get("completion_ids")
        fields |= self._prompts.add(self.turn_count, self._parent, prompt_ids, completion_ids)._asdict()
        fields["rollout_id"] = self.rollout_id
        fields["turn_index"] = self.turn_count
        fields["parent_turn_index"] = self._parent
        fields["state_key"] = self._hasher.key()
        fields["context_length"] = self._hasher.context_length
        fields["new_messages_json"] = messages_text(self._new_messages)
        fields["action_json"] = message_text(action)
        fields["tool_call_count"] = len(action.get("tool_calls") or ())
        fields["extra_json"] = extra_text(*records, messages=rests_of(self._new_records))
        fields.setdefault("source_position", self._position)
        self.events.append(event_of(TurnCompleted, fields))
        self.message_count += 1
        self._new_records = []
        if in_context:
            self._hasher.add(action)
            self._parent = self.turn_count
            self._new_messages = []
        self.turn_count += 1
        self._call_names, self.turn_result_count = call_names(action), 0

    def add_turn_at(
        self,
        context: list[Message],
        action: Message,
        fields: dict[str, Any],
        *records: Record,
        context_records: Sequence[Record] = (),
    ) -> None:
        """One model call whose whole context the source states. It continues the nearest earlier turn whose
        context and action are the beginning of this context, else it is a new root."""
        self._parent = self._parent_of(context)
        known_count = 0 if self._parent is None else len(self._stated_turns[self._parent])
        self._new_messages = context[known_count:]
        self._new_records = self._unseen(context_records, known_count)
        self.message_count += len(self._new_messages)
        self._hasher = StateHasher(self._tools_json)
        for message in context:
            self._hasher.add(message)
        self._stated_turns.append([*context, action])
        self._stated_sources.append([record.source for record in context_records])
        self.add_turn(action, fields, *records)

    def _parent_of(self, context: list[Message]) -> int | None:
        for turn_index in range(len(self._stated_turns) - 1, -1, -1):
            turn = self._stated_turns[turn_index]
            if context[: len(turn)] == turn:
                return turn_index
        return None

    def _unseen(self, records: Sequence[Record], known_count: int) -> list[Record]:
        """The records of a stated context that say more than they did in the parent's: what is left of the
        others is there already."""
        known = [] if self._parent is None else self._stated_sources[self._parent]
        return [
            record
            for index, record in enumerate(records)
            if index >= len(known) or index >= known_count or record.source != known[index]
        ]

    def called_tool(self, call_id: str | None) -> str | None:
        """Name of the tool that the latest turn called under this id; null if it has no such call."""
        return self._call_names.get(call_id or "")

    def add_tool_result(self, fields: dict[str, Any], *records: Record) -> None:
        """The next result of the latest turn's calls. Its message joins the context by `add_context`."""
        fields["rollout_id"] = self.rollout_id
        fields["turn_index"] = self.turn_count - 1
        fields["call_index"] = self.turn_result_count
        fields["extra_json"] = extra_text(*records)
        fields.setdefault("source_position", self._position)
        self.events.append(event_of(ToolReturned, fields))
        self.turn_result_count += 1
        self.tool_result_count += 1

    def add_reward(self, name: str, score: float | None, grader: str, **fields: Any) -> None:
        """A score of the rollout, or of the turn that `turn_index` names."""
        fields.setdefault("source_position", self._position)
        fields |= {"rollout_id": self.rollout_id, "name": name, "score": score, "grader": grader}
        self.events.append(RewardAssigned(**fields))

    def end(
        self,
        ending: Ending,
        *records: Record,
        metrics: dict[str, Any] | None = None,
        recording_length: int | None = None,
        other_turn_count: int = 0,
        graded: Submission | None = None,
        **fields: Any,
    ) -> ImportedRollout:
        """`RolloutEnded`, and the finished rollout. `recording_length` is the number of messages that the
        source has, by default those that joined the context; `other_turn_count` counts turns that left no
        assistant message; `graded` is for a verifier's report elsewhere."""
        fields.setdefault("source_position", self._position)
        ended = RolloutEnded(
            rollout_id=self.rollout_id,
            recording_length=self.message_count if recording_length is None else recording_length,
            stop_reason=ending.stop_reason,
            truncated=fields.pop("truncated", ending.truncated),
            truncated_by=ending.truncated_by,
            turn_count=self.turn_count,
            metrics_json=self._metrics_text(metrics or {}),
            extra_json=extra_text(*records, messages=rests_of(self._new_records)),
            **fields,
        )
        self.events.append(ended)
        rewards = [event for event in self.events if isinstance(event, RewardAssigned)]
        whole = [event for event in rewards if event.name == MAIN_REWARD and event.turn_index is None]
        return ImportedRollout(
            self.rollout_id,
            self.events,
            self.turn_count - other_turn_count,
            self.tool_result_count,
            self._losses,
            other_turn_count=other_turn_count,
            reward=sum(event.score or 0.0 for event in whole),
            reward_count=len(rewards),
            cost_usd=ended.cost_usd,
            weak_identity=self._identity.weak,
            submission=graded,
        )

    def _metrics_text(self, metrics: dict[str, Any]) -> str | None:
        """Metrics as canonical JSON. Messages that no call saw, such as a user's goodbye, are added, or they
        would be lost; tool results have their own events."""
        unseen = [message for message in self._new_messages if message["role"] != "tool"]
        whole = {**metrics, "messages_after_last_turn": unseen} if unseen else metrics
        return canonical_text(without_secrets(whole)) if whole else None


def event_of(cls: type[EventType], fields: dict[str, Any]) -> EventType:
    """An event of fields that `fields.py` has checked; the other fields have their defaults.

    Pydantic is not asked to check them again: that would be a tenth of an import."""
    event = cls.__new__(cls)
    defaults, names = _defaults(cls)
    _SET_VALUES(event, {**defaults, **fields})
    _SET_NAMES(event, names)
    _SET_EXTRA(event, None)
    _SET_PRIVATE(event, None)
    return event


# The slots themselves: a frozen model refuses assignment, and `object.__setattr__` looks each of them up.
_SET_VALUES, _SET_NAMES, _SET_EXTRA, _SET_PRIVATE = (
    BaseModel.__dict__[slot].__set__
    for slot in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
)


@cache
def _defaults(cls: type[Event]) -> tuple[dict[str, Any], set[str]]:
    """Default of each optional field, and the names of all fields."""
    given = {name: info.default for name, info in cls.model_fields.items() if not info.is_required()}
    return given, set(cls.model_fields)
