"""What a lake asks of the place that it lies in, and which place an address means.

**`put_new` is create-if-absent**: exactly one of any number of racing callers wins, the others are told.
**It returns once durable**, as durable as the place is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from tracelake.lake.stores.location import Location
from tracelake.schemas.errors import BadInputError


class ObjectStore(Protocol):
    """What a lake asks of the place that it lies in. Paths are relative, with '/'."""

    @property
    def uri(self) -> str: ...

    @property
    def spool_folder(self) -> Path | None:
        """Where a writer may sync events on the local disk before they land; null if they land at once."""
        ...

    def put_new(self, path: str, data: bytes | memoryview) -> bool:
        """Whether this very call created it. False if something is there already; nothing is changed then.

        Raises StoreUnavailableError; what became of the file is not known then.
        """
        ...

    def read(self, path: str) -> bytes:
        """Raises LakeMissingError, StoreUnavailableError."""
        ...

    def exists(self, path: str) -> bool: ...

    def list(self, prefix: str, suffix: str = "") -> list[str]:
        """Paths of all files below a folder, sorted; empty if there is no such folder."""
        ...

    def delete(self, path: str) -> None:
        """Only for what is no fact. Done if nothing is there."""
        ...

    def location(self, path: str) -> Location:
        """The address under which Lance opens the path."""
        ...


def open_store(uri: str) -> ObjectStore:
    """Raises BadInputError for a place that no store reaches."""
    # The libraries of one place are not loaded for the others.
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme == "file":
        from tracelake.lake.stores.local_store import LocalStore

        path = Path(rest if separator else uri).expanduser()
        return LocalStore(path if path.is_absolute() else Path.cwd() / path)
    if scheme == "s3":
        from tracelake.lake.stores.s3_store import S3Store, parse_s3

        return S3Store(*parse_s3(rest))
    if scheme == "memory":
        from tracelake.lake.stores.memory_store import MemoryStore

        return MemoryStore(rest)
    raise BadInputError(
        "no store for this address",
        got=f"{scheme}://…",
        expected="a folder, file://, s3:// or memory://",
        cure="Use a local folder or a bucket.",
    )


def is_local(store: ObjectStore) -> bool:
    """Whether other processes of this machine find the same files at the store's address, as paths."""
    return "://" not in store.uri
