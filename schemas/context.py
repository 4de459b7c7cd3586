"""The exact context of a turn, folded from the turns before it.

**Contexts are folded on demand**: stored contexts would grow with the square of a rollout's length.
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from tracelake.schemas.errors import EventInvalidError
from tracelake.schemas.message import Message

CONTEXT_COLUMNS = ("rollout_id", "turn_index", "parent_turn_index", "new_messages_json", "action_json")
TurnRow = tuple[str, int, int | None, str, str]


class ContextFold:
    """Folds contexts from turns, given as rows of `CONTEXT_COLUMNS`."""

    def __init__(self, turns: Iterable[TurnRow]) -> None:
        self._turns = {(row[0], row[1]): row[2:] for row in turns}

    def context(self, rollout_id: str, turn_index: int) -> list[Message]:
        """Messages that the policy saw before the turn's action, oldest first.

        Raises KeyError for an unknown turn, EventInvalidError for a turn that comes before its parent.
        """
        segments: list[list[Message]] = []
        index: int | None = turn_index
        while index is not None:
            parent = self._turns[rollout_id, index][0]
            segments.append(self.new_messages(rollout_id, index))
            if parent is not None:
                if parent >= index:
                    raise out_of_order(rollout_id, index, parent)
                segments.append([self.action(rollout_id, parent)])
            index = parent
        return [message for segment in reversed(segments) for message in segment]

    def new_messages(self, rollout_id: str, turn_index: int) -> list[Message]:
        """Messages that joined the context after the parent's action. Raises KeyError for an unknown turn."""
        return orjson.loads(self._turns[rollout_id, turn_index][1])

    def action(self, rollout_id: str, turn_index: int) -> Message:
        """The turn's assistant message. Raises KeyError for an unknown turn."""
        return orjson.loads(self._turns[rollout_id, turn_index][2])


def out_of_order(rollout_id: str, index: int, parent: int | None) -> EventInvalidError:
    """The error of a turn whose parent is not an earlier turn."""
    return EventInvalidError(
        f"turn {index} of rollout {rollout_id} does not come after its parent",
        got=f"parent turn {parent}",
        expected="an earlier turn",
    )
