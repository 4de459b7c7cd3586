"""Repair tasks: a tiny function with one bug, an issue that describes it, and tests.

Flow: families × names × constants × bugs → all tasks of the world → split by hash → sampled by seed.

**The world is finite and fixed**: `generate_tasks` samples from it, so every prompt identifies its task.
**`task_hash` decides the split**: splits are disjoint, and equal on every machine.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from tracelake.producers.worlds.tiny_functions.families import numbers, questions, sequences
from tracelake.producers.worlds.tiny_functions.families.family import Bug, Family, names_of
from tracelake.schemas.canonical import hash_of
from tracelake.schemas.errors import BadInputError

Split = Literal["train", "held_out"]
FAMILIES: tuple[Family, ...] = (*numbers.FAMILIES, *questions.FAMILIES, *sequences.FAMILIES)
HELD_OUT_ONE_IN = 5


class TaskTest(NamedTuple):
    """One test: arguments, and the value that the call must return. JSON values only."""

    arguments: tuple[Any, ...]
    expected: Any


class Edit(NamedTuple):
    """Replaces one line; lines count from 1."""

    line: int
    text: str


class Task(NamedTuple):
    """One function to repair."""

    task_id: str
    task_hash: str
    """Hash over issue, source and tests."""
    family: str
    bug_kind: str
    issue: str
    function_name: str
    source: str
    tests: tuple[TaskTest, ...]
    solution_line: int
    solution_text: str
    wrong_edits: tuple[Edit, ...]
    """Plausible edits that do not repair the function."""

    @property
    def solved_source(self) -> str:
        return edited(self.source, Edit(self.solution_line, self.solution_text))

    @property
    def prompt(self) -> str:
        """The user message that opens the task."""
        return f"{self.issue}\n{numbered(self.source)}"


def edited(source: str, edit: Edit) -> str:
    """The source with one line replaced. Raises IndexError for a missing line."""
    lines = source.split("\n")
    lines[edit.line - 1] = edit.text
    return "\n".join(lines)


def numbered(source: str) -> str:
    """The source as the prompt shows it: line number, tab, line."""
    return "\n".join(f"{number}\t{line}" for number, line in enumerate(source.split("\n"), start=1))


def split_of(task_hash: str) -> Split:
    return "held_out" if int(task_hash[:8], 16) % HELD_OUT_ONE_IN == 0 else "train"


def generate_tasks(seed: int, count: int, split: Split) -> list[Task]:
    """Distinct tasks of one split, in an order that depends on the seed only.

    Every family with tasks left comes once before any family comes again.
    Raises BadInputError if the split has fewer tasks.
    """
    rng = random.Random(f"tasks:{seed}:{split}")
    pools = {name: rng.sample(tasks, len(tasks)) for name, tasks in _tasks_by_family(split).items()}
    available = sum(map(len, pools.values()))
    if not 0 <= count <= available:
        raise BadInputError(
            f"the {split} split has fewer tasks",
            got=count,
            expected=f"0 to {available}",
            cure="Ask for fewer, and repeat them.",
        )
    sampled: list[Task] = []
    while len(sampled) < count:
        names = [name for name, pool in pools.items() if pool]
        sampled += [pools[name].pop() for name in rng.sample(names, len(names))]
    return sampled[:count]


@functools.cache
def all_tasks() -> tuple[Task, ...]:
    """Every task of the world, in a fixed order."""
    return tuple(itertools.chain.from_iterable(_tasks_of(family) for family in FAMILIES))


def task_of_prompt(prompt: str) -> Task | None:
    """The task that a user message opens; None if it is not of this world."""
    return _tasks_by_prompt().get(prompt)


@functools.cache
def _tasks_by_family(split: Split) -> dict[str, tuple[Task, ...]]:
    tasks = (task for task in all_tasks() if split_of(task.task_hash) == split)
    return {name: tuple(group) for name, group in itertools.groupby(tasks, key=lambda task: task.family)}


@functools.cache
def _tasks_by_prompt() -> dict[str, Task]:
    return {task.prompt: task for task in all_tasks()}


def _tasks_of(family: Family) -> Iterator[Task]:
    for constant in family.constants:
        tests = tuple(
            TaskTest(arguments, family.reference(constant, *arguments))
            for arguments in family.inputs(constant)
        )
        for function_name, arguments in itertools.product(family.function_names, family.arguments):
            names = names_of(family, function_name, arguments, constant)
            for bug, intent in itertools.product(family.bugs, family.intents):
                yield _task(family, bug, intent, names, tests)


def _task(family: Family, bug: Bug, intent: str, names: dict[str, Any], tests: tuple[TaskTest, ...]) -> Task:
    solved = "\n".join(family.lines).format(**names)
    source = edited(solved, Edit(bug.line, bug.text.format(**names)))
    sentence = intent.format(**names)
    issue = f"{sentence[0].upper()}{sentence[1:]}."
    task_hash = hash_of({"issue": issue, "source": source, "tests": [list(test) for test in tests]})
    return Task(
        task_id=f"{family.name}-{task_hash[:12]}",
        task_hash=task_hash,
        family=family.name,
        bug_kind=bug.kind,
        issue=issue,
        function_name=names["f"],
        source=source,
        tests=tests,
        solution_line=bug.line,
        solution_text=family.lines[bug.line - 1].format(**names),
        wrong_edits=tuple(
            Edit(other.line, other.text.format(**names)) for other in family.bugs if other is not bug
        ),
    )
