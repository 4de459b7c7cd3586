"""What Lance's errors mean, and retries after lost races. The one place that matches Lance's error texts.

**A lost race is no error**: the loser reopens the table and starts over, up to `RACES_MAX` times.
**A manifest that is not found was cleaned away.** Lance lists manifests and then reads one; a process that
was suspended in between finds that newer commits replaced it.
**Rust panics are not `Exception`s**: `panics_as_errors` turns them into CorruptFileError.

Failed requests to an object store are recognised in lake/stores/request_errors.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from typing import TypeVar

from lance.commit import CommitConflictError

from tracelake.lake.stores.request_errors import raise_if_unavailable, was_reset
from tracelake.lake.tables.fsync import MANIFEST_SUFFIX, VERSIONS
from tracelake.schemas.errors import CommitContendedError, CorruptFileError

RACES_MAX = 100
# Errors of the machine or of a newer format: they do not show that a file is damaged.
ENVIRONMENT_TEXTS = ("os error", "errno", "permission", "too many open", "supported", "feature", "upgrade")

Answer = TypeVar("Answer")


def is_gone(error: Exception) -> bool:
    return "not found" in str(error).lower()


def manifest_gone(error: Exception) -> bool:
    text = str(error)
    return is_gone(error) and MANIFEST_SUFFIX in text and f"{VERSIONS}/" in text


def lost_race(error: Exception) -> bool:
    """Another commit came first. Lance raises some conflicts as their own class, others as plain text."""
    return (
        isinstance(error, CommitConflictError)
        or "commit conflict" in str(error).lower()
        or manifest_gone(error)
    )


def should_retry(location: str, error: Exception) -> bool:
    """True if another commit came first, or if a connection reset hides whether this one was committed.
    Raises StoreUnavailableError."""
    if was_reset(error):
        return True
    raise_if_unavailable(location, error)
    return lost_race(error)


def is_tag_conflict(error: Exception) -> bool:
    """True after a reset, or a 409 that Lance reports as an existing tag."""
    return was_reset(error) or "conflict" in str(error).lower()


def blames_environment(error: Exception) -> bool:
    """True for an error that says nothing about the file's contents."""
    return any(text in str(error).lower() for text in ENVIRONMENT_TEXTS)


def retry_on_conflict(
    action: str, attempt: Callable[[], Answer], is_conflict: Callable[[Exception], bool] = manifest_gone
) -> Answer:
    """The first result that no other process spoils. Raises CommitContendedError."""
    for _ in range(RACES_MAX):
        try:
            return attempt()
        except (ValueError, OSError) as error:
            if not is_conflict(error):
                raise
            last = error
    raise CommitContendedError(
        f"{action} lost {RACES_MAX} races",
        got=str(last).partition("\n")[0],
        expected="a result before the table changes",
        cure="Stop some of the processes that work on the table, then try again.",
    )


def contended(action: str) -> CommitContendedError:
    return CommitContendedError(
        f"{action} lost {RACES_MAX} races",
        got="other commits, or a reset connection, at each attempt",
        expected="one successful commit",
        cure="Use one process for it; check the store's server.",
    )


@contextlib.contextmanager
def panics_as_errors(subject: str) -> Generator[None]:
    """Raises CorruptFileError instead of a panic of the Rust libraries."""
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise CorruptFileError(
            f"{subject} cannot be read",
            got=str(error),
            expected="files that Lance wrote",
            cure="Run `tracelake rebuild`.",
        ) from error
