"""The few files that belong to a trace and are no trace themselves: a run's `metadata.json`, a graded
`patch.diff`.

**Only next to files of the import**: nothing is read from a folder that the import has no file in, and for
a member of an archive nothing from outside it.
**Where every file lies in a separate folder**, as some archives put them, the only file of the same name
belongs whose folder and its parent have the same names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple

from tracelake.lake.secrets.public_text import public_uri
from tracelake.producers.importers.archives import Member, Wanted
from tracelake.producers.importers.find_files import FoundFile
from tracelake.producers.importers.importer import well_formed
from tracelake.producers.importers.open_files import open_local
from tracelake.producers.importers.source import Source

COMPANION_BYTES_MAX = 64 * 2**20
ARCHIVE_BYTES_MAX = 256 * 2**20
"""Of all files of one name in an archive."""
ABOVE = "../"


class FolderNeighbours:
    """The files of one import, by folder."""

    def __init__(self, files: Iterable[FoundFile]) -> None:
        self.used: set[str] = set()
        """Addresses of the files that were read as a companion."""
        self._by_folder: dict[tuple[str, str], FoundFile] = {}
        self._by_run: dict[tuple[str, str], list[FoundFile]] = {}
        self._names: dict[str, list[str]] = {}
        """By folder."""
        for file in files:
            folder, _, name = file.uri.rpartition("/")
            self._by_folder[folder, name] = file
            self._names.setdefault(folder, []).append(name)
            self._by_run.setdefault((_run(folder), name), []).append(file)

    def of(self, file: FoundFile) -> FileNeighbours:
        """Those of one file."""
        return FileNeighbours(self, file)

    def read_below(self, file: FoundFile, folder: str, pattern: str) -> list[bytes]:
        """The files of the import in a folder next to `file` whose names match, sorted by name."""
        inside = f"{file.uri.rpartition('/')[0]}/{folder}"
        contents: list[bytes] = []
        for name in sorted(self._names.get(inside, ())):
            if fnmatchcase(name, pattern):
                found = self._by_folder[inside, name]
                self.used.add(found.uri)
                contents.append(_content(found) or b"")
        return contents

    def read(self, file: FoundFile, name: str) -> bytes | None:
        """A file next to `file`, or after `../` a file of the import in the folder above; null if there is
        none."""
        folder = file.uri.rpartition("/")[0]
        if name.startswith(ABOVE):
            above = self._by_folder.get((folder.rpartition("/")[0], name.removeprefix(ABOVE)))
            return None if above is None else self._content_of(above)
        found = self._by_folder.get((folder, name))
        if found is None:
            path = f"{file.path.rpartition('/')[0]}/{name}" if "/" in file.path else name
            content = _content(file._replace(path=path))
            if content is not None:
                return content
            same_run = self._by_run.get((_run(folder), name), [])
            found = same_run[0] if len(same_run) == 1 else None
        return None if found is None else self._content_of(found)

    def _content_of(self, found: FoundFile) -> bytes | None:
        self.used.add(found.uri)
        return _content(found)


class FileNeighbours(NamedTuple):
    """The neighbours of one file of a folder."""

    folders: FolderNeighbours
    file: FoundFile

    def read(self, source: Source, name: str) -> bytes | None:
        return self.folders.read(self.file, name) if _is_plain_name(name) else None

    def read_below(self, source: Source, folder: str, pattern: str) -> list[bytes]:
        return self.folders.read_below(self.file, folder, pattern)


class ArchiveNeighbours:
    """The members of one archive, which is read again for each name that is asked for."""

    def __init__(
        self, archive_uri: str, members: Callable[[Wanted], Iterator[Member]], used: set[str]
    ) -> None:
        self._prefix = f"{archive_uri}!"
        self._members = members
        self._used = used
        self._by_name: dict[str, dict[str, bytes]] = {}

    def read(self, source: Source, name: str) -> bytes | None:
        if not _is_plain_name(name):
            return None
        folder = source.uri.rpartition("/")[0] if "/" in source.uri.removeprefix(self._prefix) else ""
        if name.startswith(ABOVE):
            name = name.removeprefix(ABOVE)
            folder = folder.rpartition("/")[0] if "/" in folder.removeprefix(self._prefix) else ""
        if name not in self._by_name:
            self._by_name[name] = self._read_all(lambda path: path.rpartition("/")[2] == name)
        found = self._by_name[name]
        place = f"{folder}/{name}" if folder else f"{self._prefix}{name}"
        if place not in found:
            same_run = [each for each in found if _run(each.rpartition("/")[0]) == _run(folder)]
            if len(same_run) != 1:
                return None
            place = same_run[0]
        self._used.add(place)
        return found[place]

    def read_below(self, source: Source, folder: str, pattern: str) -> list[bytes]:
        key = f"{folder}/{pattern}"
        if key not in self._by_name:
            self._by_name[key] = self._read_all(lambda path: fnmatchcase(f"/{path}", f"*/{key}"))
        prefix = f"{source.uri.rpartition('/')[0]}/" if "/" in source.uri.removeprefix(self._prefix) else ""
        prefix = f"{prefix or self._prefix}{folder}/"
        found = self._by_name[key]
        places = sorted(place for place in found if place.startswith(prefix))
        places = [place for place in places if "/" not in place.removeprefix(prefix)]
        self._used.update(places)
        return [found[place] for place in places]

    def _read_all(self, is_wanted: Wanted) -> dict[str, bytes]:
        """All members that are wanted, by their address."""
        found: dict[str, bytes] = {}
        left_bytes = ARCHIVE_BYTES_MAX
        for member in self._members(is_wanted):
            content = member.content
            if content is not None and content.size_bytes <= min(COMPANION_BYTES_MAX, left_bytes):
                left_bytes -= content.size_bytes
                found[f"{self._prefix}{public_uri(well_formed(member.name))}"] = content.read()
        return found


def _content(file: FoundFile) -> bytes | None:
    """The bytes of a file of moderate size; null if it is none or cannot be read."""
    try:
        if file.is_local:
            content = open_local(file.path)
            return content.read() if content.size_bytes <= COMPANION_BYTES_MAX else None
        if (file.size_bytes() or 0) > COMPANION_BYTES_MAX:
            return None
        return bytes(file.filesystem.cat_file(file.path))
    except (OSError, ValueError):
        return None


def _is_plain_name(name: str) -> bool:
    name = name.removeprefix(ABOVE)
    return name not in ("", ".", "..") and not {"/", "\\", "\0", "!"} & set(name)


def _run(folder: str) -> str:
    """The folder's name and that of its parent."""
    return "/".join(folder.replace("!", "/").split("/")[-2:])
