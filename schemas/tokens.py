"""Token ids of prompts: stored as what each turn adds, folded back to the whole.

Flow: a rollout is recorded → `PromptEncoder` splits each prompt → `TurnCompleted` stores the new ids and a
digest of those before them → `PromptFold` joins them again.

**A turn stores the ids that follow its parent's prompt and completion**: whole prompts would grow with the
square of a rollout's length. Where a prompt does not continue its parent's ids, because the engine tokenised
the text again, the whole prompt is stored and marked.
**A parent without a completion counts with an empty one**; to a parent without a prompt nothing is compared.
**A fold checks every prefix**: the digest covers all ids before the new ones, so a turn that is lost, changed
or taken from another rollout is an error and never a wrong prompt. Ids that redaction removed fold to null.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from struct import error as StructError
from typing import Any, NamedTuple

from tracelake.schemas.context import out_of_order
from tracelake.schemas.errors import EventInvalidError
from tracelake.schemas.events.vector import Vector, packed

TOKEN_COLUMNS = (
    "rollout_id",
    "turn_index",
    "parent_turn_index",
    "new_prompt_ids",
    "prompt_prefix_hash",
    "prompt_retokenised",
    "completion_ids",
)
Ids = Sequence[int] | None
TokenRow = tuple[str, int, int | None, Ids, str | None, bool | None, Ids]


class PromptDelta(NamedTuple):
    """The fields of `TurnCompleted` that store a prompt, by their names."""

    new_prompt_ids: Vector | None
    prompt_prefix_hash: str | None
    prompt_retokenised: bool | None


class WholePrompt(NamedTuple):
    """A folded prompt."""

    ids: Vector | None
    reason: str | None
    """Why there are no ids; null if there are."""


class PromptEncoder:
    """Splits the prompts of one rollout while it is recorded, each parent before its children.

    Takes memory for each id once, and hashes each id once unless it is re-tokenised."""

    def __init__(self) -> None:
        self._turns: dict[int, _Ids | None] = {}
        self._latest_prompt: dict[int, bytes] = {}
        """The whole prompt of the latest turn, by its index: mostly the next turn continues it."""

    def add(
        self, turn_index: int, parent_turn_index: int | None, prompt_ids: Any, completion_ids: Any
    ) -> PromptDelta:
        """The fields to store of a turn, given its whole prompt.

        prompt_ids, completion_ids: sequences or buffers of 32-bit integers; null where the source has none.
        Raises EventInvalidError for other values, a second turn of one index, and an unknown parent."""
        if turn_index in self._turns:
            raise EventInvalidError(
                "two turns of one rollout have the same index",
                got=turn_index,
                expected="one prompt per turn",
            )
        if parent_turn_index is not None and (
            parent_turn_index not in self._turns or parent_turn_index >= turn_index
        ):
            raise EventInvalidError(
                f"turn {turn_index} does not come after its parent",
                got=f"parent turn {parent_turn_index}",
                expected="an earlier turn that was added before",
            )
        parent = None if parent_turn_index is None else self._turns[parent_turn_index]
        if prompt_ids is None:
            self._turns[turn_index] = None
            return PromptDelta(None, None, None)
        prompt, completion = _packed(prompt_ids, turn_index), _packed(completion_ids, turn_index)
        parent_prompt = self._latest_prompt.get(
            turn_index if parent_turn_index is None else parent_turn_index
        )
        self._latest_prompt = {turn_index: prompt}
        if parent is not None and parent.begin(prompt, parent_prompt):
            new = prompt[parent.byte_count :]
            delta = PromptDelta(Vector("i", new), parent.digest(), False)
            self._turns[turn_index] = _Ids(parent, new, completion)
        else:
            is_unknown = parent is None and parent_turn_index is not None
            delta = PromptDelta(Vector("i", prompt), None, None if is_unknown else parent is not None)
            self._turns[turn_index] = _Ids(None, prompt, completion)
        return delta


class PromptFold:
    """Folds whole prompts from turns, given as rows of `TOKEN_COLUMNS` in any order."""

    def __init__(self, rows: Iterable[TokenRow]) -> None:
        """Raises EventInvalidError for two different rows of one turn, and for ids beyond 32 bits."""
        self._rows: dict[tuple[str, int], _Row] = {}
        self._folded: dict[tuple[str, int], _Ids | str] = {}
        """Ids up to the end of the turn's completion, or why there are none."""
        for rollout_id, turn_index, parent, new_ids, prefix_hash, retokenised, completion_ids in rows:
            prompt = None if new_ids is None else _packed(new_ids, turn_index)
            row = _Row(parent, prompt, prefix_hash, retokenised, _packed(completion_ids, turn_index))
            if self._rows.setdefault((rollout_id, turn_index), row) != row:
                raise EventInvalidError(
                    f"two different rows of turn {turn_index} of rollout {rollout_id}",
                    expected="one row per turn",
                    cure="Leave out rollouts in conflict.",
                )

    def prompt(self, rollout_id: str, turn_index: int) -> WholePrompt:
        """All ids that the engine saw before the turn's completion.

        Raises KeyError for an unknown turn; EventInvalidError for a parent that is not among the rows or not
        an earlier turn, and for ids that do not match their digest.
        """
        unfolded: list[int] = []
        index: int | None = turn_index
        while index is not None and (rollout_id, index) not in self._folded:
            unfolded.append(index)
            index = self._continued(rollout_id, index)
        for index in reversed(unfolded):
            self._folded[rollout_id, index] = self._fold(rollout_id, index)
        ids = self._folded[rollout_id, turn_index]
        if isinstance(ids, str):
            return WholePrompt(None, ids)
        return WholePrompt(Vector("i", ids.prompt()), None)

    def _continued(self, rollout_id: str, index: int) -> int | None:
        """The parent, if the turn stores only what follows its ids."""
        row = self._rows[rollout_id, index]
        if row.prefix_hash is None:
            return None
        if row.parent is None or row.parent >= index:
            raise out_of_order(rollout_id, index, row.parent)
        if (rollout_id, row.parent) not in self._rows:
            raise EventInvalidError(
                f"turn {index} of rollout {rollout_id} continues a turn that is not among the rows",
                got=f"no turn {row.parent}",
                expected="all turns of the rollout",
            )
        return row.parent

    def _fold(self, rollout_id: str, index: int) -> _Ids | str:
        """One turn, after the one that it continues."""
        row = self._rows[rollout_id, index]
        if row.new_prompt is None:
            was_recorded = row.prefix_hash is not None or row.retokenised is not None
            return _removed(index) if was_recorded else f"turn {index} was recorded without token ids"
        parent = self._continued(rollout_id, index)
        if parent is None:
            return _Ids(None, row.new_prompt, row.completion)
        before = self._folded[rollout_id, parent]
        if isinstance(before, str):
            # An encoder never refers to a parent without ids: if it has none, they were removed later.
            return _removed(parent) if self._rows[rollout_id, parent].new_prompt is None else before
        if before.digest() != row.prefix_hash:
            raise EventInvalidError(
                f"turn {index} of rollout {rollout_id} does not continue the token ids of its parent",
                got=f"{before.digest()} for those of turn {parent}",
                expected=str(row.prefix_hash),
                cure="Check the lake with `tracelake verify`.",
            )
        return _Ids(before, row.new_prompt, row.completion)


class _Row(NamedTuple):
    """One turn's columns, its ids packed."""

    parent: int | None
    new_prompt: bytes | None
    prefix_hash: str | None
    retokenised: bool | None
    completion: bytes


class _Ids:
    """The ids of one turn, linked to those before them; packed, little-endian."""

    __slots__ = ("_before", "_completion", "_hash", "_new_prompt", "byte_count")

    def __init__(self, before: _Ids | None, new_prompt: bytes, completion: bytes) -> None:
        self._before = before
        self._new_prompt = new_prompt
        self._completion = completion
        self.byte_count = (before.byte_count if before else 0) + len(new_prompt) + len(completion)
        self._hash = before._hash.copy() if before else hashlib.sha256()
        self._hash.update(new_prompt)
        self._hash.update(completion)

    def digest(self) -> str:
        """SHA-256 of all ids up to the end of the completion."""
        return self._hash.hexdigest()

    def begin(self, prompt: bytes, own_prompt: bytes | None) -> bool:
        """Whether a prompt begins with all of these ids. `own_prompt`, if known, saves joining them."""
        end = self.byte_count - len(self._completion)
        # Re-tokenised text mostly differs in the latest ids.
        if self.byte_count > len(prompt) or not prompt.startswith(self._completion, end):
            return False
        return prompt.startswith(self.prompt() if own_prompt is None else own_prompt)

    def prompt(self) -> bytes:
        """The whole prompt, without this turn's completion."""
        parts = [self._new_prompt]
        ids = self._before
        while ids is not None:
            parts += (ids._completion, ids._new_prompt)
            ids = ids._before
        return b"".join(reversed(parts))


def _packed(ids: Any, turn_index: int) -> bytes:
    try:
        return b"" if ids is None else packed("i", ids)
    except (StructError, TypeError, ValueError, OverflowError) as error:
        raise EventInvalidError(
            f"the token ids of turn {turn_index} cannot be stored",
            got=str(error),
            expected="integers within 32 bits",
        ) from error


def _removed(turn_index: int) -> str:
    return f"redaction removed the token ids of turn {turn_index}"
