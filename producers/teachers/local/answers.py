"""What a local teacher answers: the oracle's next action, or at a known rate a wrong edit.

**The same question has the same answer**: the dice are thrown by a hash of the teacher's name and the state.
**The accuracy is in the name**: `tiny-teacher-80` makes the right edit at 80 % of the states where an edit
is due. At other states every teacher is right.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import NamedTuple

from tracelake.producers.worlds.tiny_functions.oracle import Blunders, action_message, next_call, repair_state
from tracelake.schemas.message import Message, StateHasher

TEACHER_NAME = re.compile(r"tiny-teacher-(\d{1,3})")
LISTED_TEACHERS = ("tiny-teacher-95", "tiny-teacher-80", "tiny-teacher-65")
UNKNOWN_TASK_TEXT = "I do not know this task."


class Teacher(NamedTuple):
    """A frozen teacher."""

    name: str
    accuracy: float
    """Probability of the right edit, over the states where an edit is due."""


def teacher_named(name: str) -> Teacher | None:
    """Any `tiny-teacher-N` with N from 0 to 100; None for another name."""
    match = TEACHER_NAME.fullmatch(name)
    if match is None or int(match[1]) > 100:
        return None
    return Teacher(name, int(match[1]) / 100)


def answer(teacher: Teacher, messages: Sequence[Message]) -> Message:
    """The assistant message that the teacher gives at this state.

    Raises: EventInvalidError for messages that are no chat.
    """
    hasher = StateHasher()
    for message in messages:
        hasher.add(message)
    state = repair_state(messages)
    if state is None:
        return {"role": "assistant", "content": UNKNOWN_TASK_TEXT}
    dice = random.Random(f"{teacher.name}:{hasher.key()}")
    call = next_call(state, Blunders(wrong_edit=1.0 - teacher.accuracy), dice)
    return action_message(call, f"call_{hasher.key()[:12]}")
