"""The lock file of a launch: which data, code and registration it stands on.

**Generated, then checked**: made when an experiment is first launched, compared at every later launch and
at resume.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.errors import LockMismatchError


class Lock(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    lock_version: int = 1
    """Version of this file's format."""
    experiment_id: str
    """The `id` of the experiment's file."""
    spec_hash: str
    """The experiment as registered."""
    pin: str
    """`name@N`."""
    pin_digest: str
    """What the pin was when the lock was made."""
    table_digests: dict[str, str]
    """Of the tables that training reads."""
    tracelake_version: str
    """The code that made the lock."""


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
    """Raises LockMismatchError naming every field that differs."""
    before, now = expected.model_dump(), got.model_dump()
    changed = [field for field in before if before[field] != now[field]]
    if changed:
        details = "; ".join(f"{field}: {before[field]} → {now[field]}" for field in changed)
        raise LockMismatchError(
            f"the launch differs from {name} in {', '.join(changed)}",
            got=details,
            expected="what the lock says",
            cure="Restore the data or the experiment file; or remove the lock to start another experiment.",
        )
