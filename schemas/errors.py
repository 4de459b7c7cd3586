"""The error tree: one root, and one leaf per thing that can go wrong at a boundary.

TracelakeError
├── BadInputError (ValueError)            foreign data, an argument or a file that cannot be used as it is
│   ├── SourceFormatError                 a source does not have the format that was named or detected
│   ├── SourceMissingError (FileNotFoundError)
│   ├── EventInvalidError                 an event breaks its contract
│   ├── ExperimentInvalidError            an experiment file breaks its contract
│   ├── RecordingError                    something to record does not fit its rollout
│   └── QueryError                        a query is malformed, or names something that does not exist
├── LakeError (RuntimeError)
│   ├── LakeMissingError (FileNotFoundError)
│   ├── LakeExistsError (FileExistsError)
│   ├── TableMissingError (KeyError)
│   ├── PinMissingError (KeyError)
│   ├── SpoolError (OSError)              events could not be made durable
│   ├── StoreUnavailableError (ConnectionError)
│   ├── StoreUnsupportedError             a store ignores conditions that a lake depends on
│   ├── CommitContendedError              a compare-and-swap lost more races than the limit
│   └── ReplayRunningError                another replay works on the lake
├── CheckFailedError (AssertionError)     a guarantee does not hold: exit code 3
│   ├── CorruptFileError                  bytes differ from the hash that names them
│   ├── PinChangedError                   a pin, or the data that it names, has changed
│   ├── LockMismatchError                 a launch differs from its lock or its registration
│   └── SecretFoundError                  rows to be published contain a likely secret
├── BudgetExhaustedError (RuntimeError)   the budget is spent: exit code 4
├── TrainingError (RuntimeError)          a launch cannot start or continue
└── MissingExtraError (ImportError)       an optional dependency is not installed

**Every message says what, got, expected, cure.** `explain` builds it, and cuts `got` so that hostile data
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
    """Escapes line breaks and terminal controls, because messages quote foreign data."""
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
        # The `__str__` of KeyError would put the message in quotes.
        return str(self.args[0])


class BadInputError(TracelakeError, ValueError):
    """Foreign data, an argument or a file that cannot be used as it is."""


class SourceFormatError(BadInputError):
    """A source does not have the format that was named or detected."""


class SourceMissingError(BadInputError, FileNotFoundError):
    """A named source does not exist or is empty."""


class EventInvalidError(BadInputError):
    """An event breaks its contract."""


class ExperimentInvalidError(BadInputError):
    """An experiment file breaks its contract."""


class RecordingError(BadInputError):
    """Something to record does not fit its rollout."""


class QueryError(BadInputError):
    """A query is malformed, or names something that does not exist."""


class LakeError(TracelakeError, RuntimeError):
    """An operation on a lake failed."""


class LakeMissingError(LakeError, FileNotFoundError):
    """There is no lake at this place."""


class LakeExistsError(LakeError, FileExistsError):
    """There already is a lake at this place."""


class TableMissingError(LakeError, KeyError):
    """The lake has no such table, or no such version of it."""


class PinMissingError(LakeError, KeyError):
    """The lake has no such pin."""


class SpoolError(LakeError, OSError):
    """Events could not be made durable."""


class StoreUnavailableError(LakeError, ConnectionError):
    """The store cannot be reached or refuses access; the last write may or may not have succeeded."""


class StoreUnsupportedError(LakeError):
    """The store ignores conditions that a lake depends on."""


class CommitContendedError(LakeError):
    """A compare-and-swap commit lost more races than the limit."""


class ReplayRunningError(LakeError):
    """Another replay works on the lake."""


class CheckFailedError(TracelakeError, AssertionError):
    """A guarantee does not hold."""

    exit_code = 3


class CorruptFileError(CheckFailedError):
    """Bytes differ from the hash that names them."""


class PinChangedError(CheckFailedError):
    """A pin, or the data that it names, has changed."""


class LockMismatchError(CheckFailedError):
    """A launch differs from its lock or its registration."""


class SecretFoundError(CheckFailedError):
    """Rows to be published contain a likely secret."""


class BudgetExhaustedError(TracelakeError, RuntimeError):
    """The budget is spent."""

    exit_code = 4


class TrainingError(TracelakeError, RuntimeError):
    """A training launch cannot start or continue."""


class MissingExtraError(TracelakeError, ImportError):
    """An optional dependency is not installed."""
