"""What other processes do to a table meanwhile, told from what is wrong with it.

**A lost race is no error**: whoever lost looks at the table as it is now and begins again, `RACES_MAX` times.
**A manifest that is gone was cleaned away.** Lance lists manifests and then reads one; a process that was
held up in between finds that newer commits have made it an old one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from lance.commit import CommitConflictError

from tracelake.lake.tables.fsync import MANIFEST_SUFFIX, VERSIONS
from tracelake.schemas.errors import CommitContendedError

RACES_MAX = 100

Answer = TypeVar("Answer")


def lost_race(error: Exception) -> bool:
    """Another commit came first. Some of Lance's conflicts come as their own class, others as text."""
    return (
        isinstance(error, CommitConflictError)
        or "commit conflict" in str(error).lower()
        or manifest_gone(error)
    )


def manifest_gone(error: Exception) -> bool:
    text = str(error)
    return is_gone(error) and MANIFEST_SUFFIX in text and f"{VERSIONS}/" in text


def is_gone(error: Exception) -> bool:
    return "not found" in str(error).lower()


def outrun(what: str, ask: Callable[[], Answer], lost: Callable[[Exception], bool] = manifest_gone) -> Answer:
    """The first answer that no other process spoils. Raises CommitContendedError."""
    for _ in range(RACES_MAX):
        try:
            return ask()
        except (ValueError, OSError) as error:
            if not lost(error):
                raise
            last = error
    raise CommitContendedError(
        f"{what} lost {RACES_MAX} races",
        got=str(last).partition("\n")[0],
        expected="an answer before the table changes",
        cure="Stop some of the processes that work on the table, then try again.",
    )


def contended(doing: str) -> CommitContendedError:
    return CommitContendedError(
        f"{doing} lost {RACES_MAX} races",
        got="other commits, or a connection that was reset, at each try",
        expected="a commit that stands",
        cure="Let one process do it; look at the store's server.",
    )
