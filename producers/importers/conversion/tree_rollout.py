"""A rollout whose turns form a tree: compaction, subagents and edited histories give a turn another parent
than the turn before it.

**A turn continues the turn that its source names**, and the first turns of other contexts are roots.
**A result belongs to the turn that made its call**, wherever it joins a context.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from tracelake.producers.importers.conversion.chat import call_names
from tracelake.producers.importers.conversion.record import Record, extra_text
from tracelake.producers.importers.conversion.rollout_builder import RolloutBuilder, event_of
from tracelake.producers.importers.identity import RolloutIdentity
from tracelake.producers.importers.losses import Losses
from tracelake.schemas.events.rollout_events import ToolReturned
from tracelake.schemas.message import Message, StateHasher

NewMessage = tuple[Message, Record | None]
"""A message that joins a context, and what is left of its record for the turn that first saw it."""


class Call(NamedTuple):
    """A tool call that a turn made."""

    turn_index: int
    tool_name: str | None


class TreeRollout(RolloutBuilder):
    """See the module. Turns are added in the order in which they happened, parents first."""

    def __init__(
        self,
        identity: RolloutIdentity,
        losses: Losses,
        tools_json: str | None = None,
        position: int | None = None,
    ) -> None:
        super().__init__(identity, losses, tools_json, position)
        self.calls: dict[str, Call] = {}
        """By call id, the latest one."""
        self._tools = tools_json
        self._after: dict[int, StateHasher] = {}
        """The state after each turn's action."""
        self._result_counts: Counter[int] = Counter()
        self._results: set[tuple[int, str]] = set()
        """(turn, call id) of each result."""

    def add_turn_after(
        self,
        parent: int | None,
        new: Iterable[NewMessage],
        action: Message,
        fields: dict[str, Any],
        *records: Record,
        tools_json: str | None = None,
    ) -> int:
        """One model call that continues the turn `parent`, or a root. Returns its index. `tools_json` are the
        tools of a root, if they are not those of the rollout."""
        hasher = StateHasher(tools_json or self._tools) if parent is None else self._after[parent].copy()
        self._parent, self._hasher = parent, hasher
        self._new_messages, self._new_records = [], []
        for message, record in new:
            self.add_context(message, record)
        turn_index = self.turn_count
        self.add_turn(action, fields, *records)
        self._after[turn_index] = self._hasher.copy()
        for call_id, name in call_names(action).items():
            self.calls[call_id] = Call(turn_index, name)
        return turn_index

    def has_result(self, turn_index: int, call_id: str | None) -> bool:
        """Whether this call has a result already; another branch may repeat it."""
        return call_id is not None and (turn_index, call_id) in self._results

    def add_result_of(self, turn_index: int, fields: dict[str, Any], *records: Record) -> None:
        """The next result of a turn's calls."""
        fields["rollout_id"] = self.rollout_id
        fields["turn_index"] = turn_index
        fields["call_index"] = self._result_counts[turn_index]
        fields["extra_json"] = extra_text(*records)
        fields.setdefault("source_position", self._position)
        self.events.append(event_of(ToolReturned, fields))
        self._result_counts[turn_index] += 1
        self.tool_result_count += 1
        if fields.get("tool_call_id") is not None:
            self._results.add((turn_index, fields["tool_call_id"]))
