"""Goal: every task of the world is a real repair. Method: run all of them, and sample many times."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelake.producers.worlds.tiny_functions.tasks import (
    FAMILIES,
    Task,
    all_tasks,
    edited,
    generate_tasks,
    numbered,
    split_of,
    task_of_prompt,
)
from tracelake.schemas.errors import BadInputError


def passes(source: str, task: Task) -> bool:
    """Runs our own templates in this process, never a model's code."""
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    return all(
        _returned(namespace[task.function_name], test.arguments) == (type(test.expected), test.expected)
        for test in task.tests
    )


def _returned(function: Any, arguments: tuple[Any, ...]) -> tuple[type, Any]:
    try:
        value = function(*arguments)
    except (TypeError, IndexError, ZeroDivisionError) as error:
        return type(error), None
    return type(value), value


def test_every_task_fails_and_its_solution_passes() -> None:
    for task in all_tasks():
        assert not passes(task.source, task), task.task_id
        assert passes(task.solved_source, task), task.task_id


def test_no_wrong_edit_repairs_a_task() -> None:
    for task in all_tasks():
        assert len(task.wrong_edits) >= 2
        assert not any(passes(edited(task.source, edit), task) for edit in task.wrong_edits), task.task_id


def test_a_task_differs_from_its_solution_in_one_line() -> None:
    for task in all_tasks():
        pairs = list(zip(task.source.split("\n"), task.solved_source.split("\n"), strict=True))
        assert [line for line, (is_now, right) in enumerate(pairs, 1) if is_now != right] == [
            task.solution_line
        ]
        assert 2 <= len(pairs) <= 5


def test_the_world_is_varied() -> None:
    tasks = all_tasks()
    assert len(FAMILIES) >= 20
    assert len({task.family for task in tasks}) == len(FAMILIES)
    assert len({task.bug_kind for task in tasks}) == 8


def test_hashes_ids_and_prompts_name_one_task_each() -> None:
    tasks = all_tasks()
    assert len({task.task_hash for task in tasks}) == len(tasks)
    assert len({task.task_id for task in tasks}) == len(tasks)
    assert all(task_of_prompt(task.prompt) is task for task in tasks)
    assert task_of_prompt("Write a poem.") is None


@given(seed=st.integers(0, 2**32), count=st.integers(0, 300))
def test_splits_are_disjoint_and_sampling_is_deterministic(seed: int, count: int) -> None:
    train, held_out = generate_tasks(seed, count, "train"), generate_tasks(seed, count, "held_out")
    assert train == generate_tasks(seed, count, "train")
    assert len({task.task_hash for task in train}) == len(train) == count
    assert {task.task_hash for task in train}.isdisjoint(task.task_hash for task in held_out)
    assert {split_of(task.task_hash) for task in held_out} <= {"held_out"}


@given(seed=st.integers(0, 2**32))
def test_a_sample_visits_every_family_before_it_repeats_one(seed: int) -> None:
    sampled = generate_tasks(seed, len(FAMILIES), "held_out")
    assert {task.family for task in sampled} == {family.name for family in FAMILIES}


def test_a_longer_sample_starts_with_the_shorter_one() -> None:
    assert generate_tasks(3, 200, "train")[:90] == generate_tasks(3, 90, "train")


def test_asking_for_too_many_tasks_reports_how_many_exist() -> None:
    with pytest.raises(BadInputError, match="0 to"):
        generate_tasks(0, 10**6, "held_out")


def test_a_source_is_shown_with_line_numbers() -> None:
    assert numbered("def f(x):\n    return x") == "1\tdef f(x):\n2\t    return x"
