"""The interface between a lake and its storage, and the choice of a store for an address.

**`put_new` is create-if-absent**: exactly one of any number of racing callers wins, and each caller learns
whether it did.
**It returns once the file is durable**, as far as the storage is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from tracelake.lake.stores.location import Location
from tracelake.schemas.errors import BadInputError


class ObjectStore(Protocol):
    """Storage of one lake. Paths are relative, with '/'."""

    @property
    def uri(self) -> str: ...

    @property
    def spool_folder(self) -> Path | None:
        """The local folder for events that have not landed; null if events land at once."""
        ...

    def put_new(self, path: str, data: bytes | memoryview) -> bool:
        """Create a file. True if this very call created it; false if it existed, and nothing is changed then.

        Raises StoreUnavailableError; it is unknown then whether the file was created.
        """
        ...

    def read(self, path: str) -> bytes:
        """Raises LakeMissingError, StoreUnavailableError."""
        ...

    def exists(self, path: str) -> bool: ...

    def list(self, prefix: str, suffix: str = "") -> list[str]:
        """Sorted paths of all files below a folder; empty if the folder does not exist."""
        ...

    def delete(self, path: str) -> None:
        """For files that are no facts. A missing file is no error."""
        ...

    def location(self, path: str) -> Location:
        """The address by which Lance opens the path."""
        ...


def open_store(uri: str) -> ObjectStore:
    """Raises BadInputError for an address of another scheme."""
    # Each store loads its own libraries only.
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
    """Whether the store is a local folder, so that other processes on this machine open the same files."""
    return "://" not in store.uri
