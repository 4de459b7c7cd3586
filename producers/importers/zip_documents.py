"""Zip files within bounds: their directory, and the members of one that is a single document.

**No size that a zip file states is believed**: members are read in pieces, and stop when they expand beyond
measure. A directory is measured before it is read.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from typing import BinaryIO, cast

from tracelake.producers.importers.content import CHUNK_BYTES, Content
from tracelake.producers.importers.expansion import Expansion
from tracelake.producers.importers.json_text import DOCUMENT_BYTES_MAX
from tracelake.schemas.errors import SourceFormatError

MEMBERS_MAX = 100_000
DIRECTORY_BYTES_MAX = 32 * 2**20
UNPACK = "Unpack it and import the folder."
# What damaged zip files make the libraries raise; encrypted ones raise RuntimeError.
ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    MemoryError,
    OverflowError,
)
_DOCUMENT_MEMBERS = frozenset({"header.json", "_journal/start.json"})


class BoundedMember:
    """One member, as a stream that raises SourceFormatError when it expands beyond measure."""

    def __init__(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
        self._stream = archive.open(info)
        self._compressed_bytes = info.compress_size
        self._expansion = Expansion()

    def read(self, size: int, /) -> bytes:
        data = self._stream.read(size)
        self._expansion.add(len(data), self._compressed_bytes)
        return data


def is_zip_document(content: Content) -> bool:
    """Whether a zip file is one document of several parts, as Inspect's `.eval`."""
    try:
        return bool(_DOCUMENT_MEMBERS.intersection(zip_directory(content).namelist()))
    except ZIP_ERRORS:
        return False


def zip_document_names(content: Content) -> list[str]:
    """The members' names. Raises SourceFormatError."""
    try:
        return zip_directory(content).namelist()
    except SourceFormatError:
        raise
    except ZIP_ERRORS as error:
        raise damaged_zip(error) from error


def zip_document_member(content: Content, name: str) -> bytes:
    """One member, as large as a JSON document may be. Raises SourceFormatError, and KeyError for an unknown
    name."""
    parts: list[bytes] = []
    byte_count = 0
    try:
        archive = zip_directory(content)
        member = BoundedMember(archive, archive.getinfo(name))
        while part := member.read(CHUNK_BYTES):
            parts.append(part)
            byte_count += len(part)
            if byte_count > DOCUMENT_BYTES_MAX:
                raise SourceFormatError(
                    "a member of a zip document too large to read",
                    got=f"more than {DOCUMENT_BYTES_MAX} bytes",
                    expected=f"{DOCUMENT_BYTES_MAX} at most",
                )
    except (SourceFormatError, KeyError):
        raise
    except ZIP_ERRORS as error:
        raise damaged_zip(error) from error
    return b"".join(parts)


def zip_directory(content: Content) -> zipfile.ZipFile:
    """Raises SourceFormatError if the directory is too large to read, and what zipfile raises."""
    file = content.open()
    entry_count, byte_count = _directory_size(file, content.size_bytes)
    require_member_count(entry_count)
    if byte_count > DIRECTORY_BYTES_MAX:
        raise SourceFormatError(
            "a zip directory too large to read",
            got=f"{byte_count} bytes",
            expected=f"{DIRECTORY_BYTES_MAX} at most",
            cure=UNPACK,
        )
    return zipfile.ZipFile(file)


def require_member_count(count: int) -> None:
    if count > MEMBERS_MAX:
        raise SourceFormatError(
            "an archive with too many files", got=str(count), expected=f"{MEMBERS_MAX} at most", cure=UNPACK
        )


def damaged_zip(error: Exception) -> SourceFormatError:
    return SourceFormatError(
        "a damaged zip file",
        got=type(error).__name__,
        expected="a whole zip file, compressed with deflate, bzip2 or lzma and not encrypted",
        cure="Copy it again, or unpack it and import the folder.",
    )


def _directory_size(file: BinaryIO, size_bytes: int) -> tuple[int, int]:
    """Entries and bytes of the directory, as the end of the file states them."""
    file.seek(max(0, size_bytes - 2**16 - 22))
    end = file.read()
    place = end.rfind(b"PK\x05\x06")
    if place < 0 or len(end) < place + 22:
        raise zipfile.BadZipFile("no end of the directory")
    entry_count, byte_count = cast("tuple[int, int]", struct.unpack_from("<HI", end, place + 10))
    large = end.rfind(b"PK\x06\x06", 0, place)
    if large >= 0 and len(end) >= large + 56:
        entry_count, byte_count = cast("tuple[int, int]", struct.unpack_from("<QQ", end, large + 32))
    return entry_count, byte_count
