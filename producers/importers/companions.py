"""The few files that belong to a trace and are no trace themselves: a run's `metadata.json`, a graded
`patch.diff`.

**Only next to files of the import**: nothing is read from a folder that the import has no file in.
"""

from __future__ import annotations

from collections.abc import Iterable

from tracelake.producers.importers.find_files import FoundFile
from tracelake.producers.importers.importer import SourceFile

METADATA = "metadata.json"


class CompanionFiles:
    """Companions among and next to the files of one import."""

    def __init__(self, files: Iterable[FoundFile]) -> None:
        self.used: set[str] = set()
        """Addresses of the files that were read as a companion."""
        self._metadata_by_folder: dict[str, FoundFile] = {}
        self._metadata_by_run: dict[str, list[FoundFile]] = {}
        self._any_file_in: dict[str, FoundFile] = {}
        for file in files:
            folder = _folder(file.uri)
            self._any_file_in[folder] = file
            if file.path.rsplit("/", 1)[-1] == METADATA:
                self._metadata_by_folder[folder] = file
                self._metadata_by_run.setdefault(_run(file.uri), []).append(file)

    def metadata(self, source: SourceFile) -> bytes | None:
        """A run's `metadata.json`, null if there is none: in the same folder, else in the only folder of the
        import with the same name and parent, because some archives put every file in a separate folder."""
        folder = _folder(source.uri)
        found = self._metadata_by_folder.get(folder)
        same_run = self._metadata_by_run.get(_run(source.uri), [])
        if found is None and len(same_run) == 1:
            found = same_run[0]
        if found is None:
            return self.read(folder, METADATA)
        self.used.add(found.uri)
        return found.content()

    def read(self, folder_uri: str, name: str) -> bytes | None:
        """A file in a folder that the import has a file in; null if there is none."""
        neighbour = self._any_file_in.get(folder_uri)
        if neighbour is None:
            return None
        path = f"{neighbour.path.rsplit('/', 1)[0]}/{name}" if "/" in neighbour.path else name
        try:
            return neighbour._replace(path=path).content()
        except OSError:
            return None


def _folder(uri: str) -> str:
    return uri.rsplit("/", 1)[0] if "/" in uri else ""


def _run(uri: str) -> str:
    return "/".join(uri.split("/")[-3:-1])
