"""What a target of an export gets and returns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tracelake.consumers.exports.teacher_terms import Terms
from tracelake.lake.pins.pins import OpenPin


class Part(NamedTuple):
    """Files of one kind of row."""

    name: str
    files: str
    """Path within the folder, or a pattern of paths."""
    row_count: int
    meaning: str


class Written(NamedTuple):
    """What a target wrote."""

    parts: tuple[Part, ...]
    left_out: Counter[str]
    """Rows of the pin that are not in the files, by reason; withheld answers are counted elsewhere."""
    usage: str
    """Markdown: how to read the files."""
    is_dataset: bool
    """Whether each part is a configuration of a Hugging Face dataset."""
    rollout_ids: frozenset[str]
    """Rollouts that rows of the export come from."""


class Target(NamedTuple):
    name: str
    tables: tuple[str, ...]
    """Tables that the pin must have."""
    write: Callable[[OpenPin, Terms, Path], Written]
    """Write files into a folder."""
    has_teacher_answers: bool
