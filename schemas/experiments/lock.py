"""The lock file of a launch: the data, code and trainer settings that it runs on.

**Generated, then checked**: written when an experiment is first launched, compared at every later launch and
at resume.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.errors import LockMismatchError

ABSENT = "absent"


class Lock(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    lock_version: int = 2
    """Version of this file's format."""
    experiment_id: str
    """The `id` of the experiment's file."""
    spec_hash: str
    """The experiment as registered."""
    pin: str
    """`name@N`."""
    pin_digest: str
    """Digest of the pin when the lock was written."""
    table_digests: dict[str, str]
    """Digests of the tables that training reads."""
    trainer_config: dict[str, Any]
    """Every resolved setting of the trainer and its losses, without seeds, paths and facts of the machine."""
    tracelake_version: str
    """The code that wrote the lock."""


def read_lock(path: Path) -> Lock:
    """Raises LockMismatchError for a file that is no lock."""
    try:
        return Lock.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise LockMismatchError(
            f"{path.name} is not a lock file",
            got=error.errors(include_url=False)[0]["msg"],
            expected="a file that `tracelake train` wrote",
            cure="Remove it to lock anew.",
        ) from error


def lock_text(lock: Lock) -> str:
    return canonical_text(lock.model_dump(mode="json")) + "\n"


def compare_locks(expected: Lock, got: Lock, *, name: str) -> None:
    """Raises LockMismatchError naming every key that differs."""
    differences = differing_keys(expected.model_dump(mode="json"), got.model_dump(mode="json"))
    if differences:
        raise LockMismatchError(
            f"the launch differs from {name} in {', '.join(differences)}",
            got="; ".join(f"{key}: {before} → {now}" for key, (before, now) in differences.items()),
            expected="the values of the lock",
            cure="Restore the data, code or experiment file; or remove the lock to start another experiment.",
        )


def differing_keys(before: dict[str, Any], now: dict[str, Any]) -> dict[str, tuple[object, object]]:
    """Both values of each key that differs, by dotted key; ABSENT stands for a missing one."""
    old, new = dict(_leaves(before, "")), dict(_leaves(now, ""))
    pairs = {key: (old.get(key, ABSENT), new.get(key, ABSENT)) for key in (*old, *(new.keys() - old.keys()))}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _leaves(value: object, key: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict) and value:
        for name, item in cast("dict[str, object]", value).items():
            yield from _leaves(item, f"{key}.{name}" if key else name)
    else:
        yield key, value
