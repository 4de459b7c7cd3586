"""Answers of the tiny teachers: the oracle's next action, or a wrong edit at a known rate.

**The same question gets the same answer**: the teacher's name and a hash of the state seed the random choice.
**The accuracy is in the name**: `tiny-teacher-80` is right at 80 % of the states whose best action is an
edit. At other states every teacher is right.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import NamedTuple

from tracelake.producers.worlds.tiny_functions.oracle import (
    ErrorRates,
    action_message,
    next_call,
    repair_state,
)
from tracelake.schemas.message import Message, StateHasher

TEACHER_NAME = re.compile(r"tiny-teacher-(\d{1,3})")
LISTED_TEACHERS = ("tiny-teacher-95", "tiny-teacher-80", "tiny-teacher-65")
UNKNOWN_TASK_TEXT = "I do not know this task."


class Teacher(NamedTuple):
    """A frozen teacher."""

    name: str
    accuracy: float
    """Probability of the right edit at states whose best action is an edit."""


def teacher_named(name: str) -> Teacher | None:
    """Any `tiny-teacher-N` with N from 0 to 100; None for another name."""
    match = TEACHER_NAME.fullmatch(name)
    if match is None or int(match[1]) > 100:
        return None
    return Teacher(name, int(match[1]) / 100)


def answer(teacher: Teacher, messages: Sequence[Message]) -> Message:
    """The teacher's assistant message at this state.

    Raises EventInvalidError for invalid messages.
    """
    hasher = StateHasher()
    for message in messages:
        hasher.add(message)
    state = repair_state(messages)
    if state is None:
        return {"role": "assistant", "content": UNKNOWN_TASK_TEXT}
    rng = random.Random(f"{teacher.name}:{hasher.key()}")
    call = next_call(state, ErrorRates(wrong_edit=1.0 - teacher.accuracy), rng)
    return action_message(call, f"call_{hasher.key()[:12]}")
