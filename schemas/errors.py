"""The error tree: one root, one leaf per thing that can go wrong at a boundary.

TracelakeError
├── BadInputError (ValueError)            foreign data, arguments or files that cannot be taken as they are
│   ├── SourceFormatError                 a source is not in the format that it was said, or looked, to be in
│   ├── SourceMissingError (FileNotFoundError)
│   ├── EventInvalidError                 an event breaks its own contract
│   ├── ExperimentInvalidError            an experiment file breaks its contract
│   └── QueryError                        a query names what is not there, or is not a query
├── LakeError (RuntimeError)
│   ├── LakeMissingError (FileNotFoundError)
│   ├── LakeExistsError (FileExistsError)
│   ├── TableMissingError (KeyError)
│   ├── PinMissingError (KeyError)
│   ├── SpoolError (OSError)              events could not be made durable
│   ├── StoreUnavailableError (ConnectionError)
│   ├── StoreUnsupportedError                   a store ignores the conditions that a lake rests on
│   ├── CommitContendedError              a compare-and-swap lost more often than it may
│   └── ReplayRunningError                   another replay works on the lake
├── CheckFailedError (AssertionError)     a promise does not hold: exit code 3
│   ├── CorruptFileError                  bytes differ from the hash that names them
│   ├── PinChangedError                   a pin, or what it points to, is not what it was
│   ├── LockMismatchError                 a launch differs from its lock file
│   └── SecretFoundError                  rows that were to leave the lake hold what looks like a secret
├── BudgetExhaustedError (RuntimeError)   the money is spent: exit code 4
└── TrainingError (RuntimeError)          a launch that cannot start or go on

**Every message says what, got, expected, cure.** `explain` builds it; `got` is cut so that hostile data
cannot flood a terminal.
**Every leaf survives pickling**, because errors cross process borders: the only constructor argument is the
message.

To add one: derive from the nearest class above and from the standard-library error that it refines, give it
one docstring line, and draw it in the tree above (a test compares the two).
"""

from __future__ import annotations

GOT_LENGTH_MAX = 200


def explain(what: str, *, got: object = None, expected: str | None = None, cure: str | None = None) -> str:
    """One line, in the order what, got, expected, cure."""
    parts = [what]
    if got is not None:
        text = got if isinstance(got, str) else repr(got)
        cut = text if len(text) <= GOT_LENGTH_MAX else f"{text[:GOT_LENGTH_MAX]}… ({len(text)} characters)"
        parts.append(f"got {cut}")
    if expected is not None:
        parts.append(f"expected {expected}")
    line = "; ".join(parts)
    return _on_one_line(f"{line}. {cure}" if cure else line)


def _on_one_line(text: str) -> str:
    """Line breaks and terminal controls as escapes: messages quote foreign data."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
    )


class TracelakeError(Exception):
    """Root of every error that tracelake raises on purpose."""

    exit_code = 1

    def __init__(
        self, what: str, *, got: object = None, expected: str | None = None, cure: str | None = None
    ) -> None:
        super().__init__(explain(what, got=got, expected=expected, cure=cure))

    def __str__(self) -> str:
        # KeyError would quote the message.
        return str(self.args[0])


class BadInputError(TracelakeError, ValueError):
    """Foreign data, an argument or a file that cannot be taken as it is."""


class SourceFormatError(BadInputError):
    """A source is not in the format that it was said, or looked, to be in."""


class SourceMissingError(BadInputError, FileNotFoundError):
    """A named source does not exist or holds nothing."""


class EventInvalidError(BadInputError):
    """An event breaks its own contract."""


class ExperimentInvalidError(BadInputError):
    """An experiment file breaks its contract."""


class QueryError(BadInputError):
    """A query names what is not there, or is not a query."""


class LakeError(TracelakeError, RuntimeError):
    """The store cannot do what was asked."""


class LakeMissingError(LakeError, FileNotFoundError):
    """There is no lake at this place."""


class LakeExistsError(LakeError, FileExistsError):
    """There is a lake at this place already."""


class TableMissingError(LakeError, KeyError):
    """The lake has no such table, or no such version of it."""


class PinMissingError(LakeError, KeyError):
    """The lake has no such pin."""


class SpoolError(LakeError, OSError):
    """Events could not be made durable."""


class StoreUnavailableError(LakeError, ConnectionError):
    """The store cannot be reached, or refuses us; what became of the last write is not known."""


class StoreUnsupportedError(LakeError):
    """The store ignores the conditions that a lake rests on."""


class CommitContendedError(LakeError):
    """A compare-and-swap commit lost its race more often than it may."""


class ReplayRunningError(LakeError):
    """Another replay works on the lake."""


class CheckFailedError(TracelakeError, AssertionError):
    """A promise does not hold."""

    exit_code = 3


class CorruptFileError(CheckFailedError):
    """Bytes differ from the hash that names them."""


class PinChangedError(CheckFailedError):
    """A pin, or what it points to, is not what it was."""


class LockMismatchError(CheckFailedError):
    """A launch differs from its lock file."""


class SecretFoundError(CheckFailedError):
    """Rows that were to leave the lake hold what looks like a secret."""


class BudgetExhaustedError(TracelakeError, RuntimeError):
    """The budget is spent."""

    exit_code = 4


class TrainingError(TracelakeError, RuntimeError):
    """A training launch cannot start or go on."""
