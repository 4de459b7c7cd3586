"""Which earlier turn of a rollout a context continues, and the key of its state.

**A turn continues the turn whose context and action are the longest beginning of its context.** Where there
is none, because the agent began anew or compacted its context, the turn is a new root.
**Equal states match, not equal JSON**: agents send replies back without reasoning and provider fields. Only
call ids have to be the same, because results refer to them.
**A call costs its new messages**: what equals the beginning of the call before is not hashed again.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from tracelake.schemas.message import Message, StateHasher


class Place(NamedTuple):
    """The position of a context among the turns of its rollout."""

    parent_turn_index: int | None
    new_messages: list[Message]
    """Those after the parent's action."""
    state_key: str
    context_length: int
    plain: StateHasher
    """Of the context without tool definitions."""


class _Ancestor(NamedTuple):
    """An earlier turn that a context continues."""

    turn_index: int
    length: int
    """Messages of its context and action."""


class _Placed(NamedTuple):
    """The context that was placed last."""

    messages: list[Message]
    tools_json: str | None
    plain: StateHasher
    keyed: StateHasher
    ancestor: _Ancestor | None


class ContextTree:
    """The contexts of one rollout; each message is the same object as long as it is equal."""

    def __init__(self) -> None:
        self._turns: defaultdict[str, list[tuple[int, list[str | None]]]] = defaultdict(list)
        """By the key of context and action: turn, and the ids of the action's calls."""
        self._last: _Placed | None = None

    def place(self, messages: list[Message], tools_json: str | None) -> Place:
        """Raises EventInvalidError for a message that has no state."""
        known = self._last
        start = 0
        if known is not None and _begins(messages, known.messages):
            start = len(known.messages)
            plain, ancestor = known.plain.copy(), known.ancestor
        else:
            plain, ancestor = StateHasher(), None
        for length, message in enumerate(messages[start:], start + 1):
            plain.add(message)
            if message["role"] == "assistant":
                turn_index = self._turn_at(plain.key(), message)
                if turn_index is not None:
                    ancestor = _Ancestor(turn_index, length)
        keyed = self._keyed(messages, tools_json, start)
        self._last = _Placed(messages, tools_json, plain, keyed, ancestor)
        return Place(
            None if ancestor is None else ancestor.turn_index,
            messages[0 if ancestor is None else ancestor.length :],
            keyed.key(),
            keyed.context_length,
            plain,
        )

    def add(self, turn_index: int, place: Place, action: Message) -> None:
        """Remember a turn, so that later contexts can continue it."""
        after = place.plain.copy()
        after.add(action)
        self._turns[after.key()].append((turn_index, _call_ids(action)))

    def _turn_at(self, key: str, message: Message) -> int | None:
        candidates = self._turns.get(key)
        if not candidates:
            return None
        call_ids = _call_ids(message)
        return next((turn for turn, its_ids in reversed(candidates) if its_ids == call_ids), None)

    def _keyed(self, messages: list[Message], tools_json: str | None, start: int) -> StateHasher:
        known = self._last
        if start and known is not None and known.tools_json == tools_json:
            keyed = known.keyed.copy()
        else:
            keyed, start = StateHasher(tools_json), 0
        for message in messages[start:]:
            keyed.add(message)
        return keyed


def _begins(messages: list[Message], beginning: list[Message]) -> bool:
    if len(beginning) > len(messages):
        return False
    return all(message is known for message, known in zip(messages, beginning, strict=False))


def _call_ids(message: Message) -> list[str | None]:
    return [call["id"] for call in message.get("tool_calls") or ()]
