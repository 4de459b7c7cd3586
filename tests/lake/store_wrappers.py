"""Stores that misbehave as real ones may: each is an `ObjectStore` that wraps a local one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from tracelake.lake.layout import EVENTS
from tracelake.lake.stores.local_store import LocalStore
from tracelake.lake.stores.location import Location


class PassingStore:
    """Does what the local store does; the other classes override one method."""

    def __init__(self, inner: LocalStore) -> None:
        self.inner = inner

    @property
    def uri(self) -> str:
        return self.inner.uri

    @property
    def spool_folder(self) -> Path | None:
        return None

    def put_new(self, path: str, data: bytes | memoryview) -> bool:
        return self.inner.put_new(path, data)

    def read(self, path: str) -> bytes:
        return self.inner.read(path)

    def exists(self, path: str) -> bool:
        return self.inner.exists(path)

    def list(self, prefix: str, suffix: str = "") -> list[str]:
        return self.inner.list(prefix, suffix)

    def delete(self, path: str) -> None:
        self.inner.delete(path)

    def location(self, path: str) -> Location:
        return self.inner.location(path)


class FullStore(PassingStore):
    """Takes a number of files, then raises. With `after_write` it writes the failing file before it
    raises."""

    def __init__(self, inner: LocalStore, takes: int, *, after_write: bool = False) -> None:
        super().__init__(inner)
        self._left = takes
        self._after_write = after_write
        self._lock = threading.Lock()
        self.put_paths: list[str] = []

    def put_new(self, path: str, data: bytes | memoryview) -> bool:
        with self._lock:
            if self._left <= 0:
                if self._after_write and self._left == 0:
                    self.inner.put_new(path, data)
                self._left -= 1
                raise OSError("no space left on device")
            self._left -= 1
            self.put_paths.append(path)
            return self.inner.put_new(path, data)


class CountingStore(PassingStore):
    """Counts its listings."""

    def __init__(self, inner: LocalStore) -> None:
        super().__init__(inner)
        self.listing_count = 0

    def list(self, prefix: str, suffix: str = "") -> list[str]:
        self.listing_count += 1
        return self.inner.list(prefix, suffix)


class IncompleteListingStore(PassingStore):
    """Its first listing misses the given files, as if they landed while it ran."""

    def __init__(self, inner: LocalStore, missed: set[str]) -> None:
        super().__init__(inner)
        self._missed = missed

    def list(self, prefix: str, suffix: str = "") -> list[str]:
        missed, self._missed = self._missed, set()
        return [path for path in self.inner.list(prefix, suffix) if path not in missed]


class InterruptedReadStore(PassingStore):
    """Calls `interruption` once, while a landed file is read."""

    def __init__(self, inner: LocalStore, interruption: Callable[[], object]) -> None:
        super().__init__(inner)
        self._interruption: Callable[[], object] | None = interruption

    def read(self, path: str) -> bytes:
        if path.startswith(EVENTS) and (interruption := self._interruption) is not None:
            self._interruption = None
            interruption()
        return self.inner.read(path)
