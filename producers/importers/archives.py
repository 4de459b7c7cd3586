"""Members of tar and zip archives, one after the other, without unpacking them.

Flow: `tar_members` or `zip_members` → each file of the archive, with its content, or with the reason why it
is not read.

**Bounded**: the number of members, their sizes, and how much they expand. A bomb is refused within its first
64 MB.
**Never leaves the archive**: links, devices and names that lead out are named and not read.
"""

from __future__ import annotations

import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple, cast

from tracelake.producers.importers.content import Content
from tracelake.producers.importers.expansion import Expansion
from tracelake.producers.importers.open_files import COPIED_BYTES_MAX, copied
from tracelake.producers.importers.zip_documents import (
    UNPACK,
    ZIP_ERRORS,
    BoundedMember,
    damaged_zip,
    require_member_count,
    zip_directory,
)
from tracelake.schemas.errors import SourceFormatError

TAR_HEADER_BYTES_MAX = 2**20
TAR_BLOCK_BYTES = 512
_ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
_TAR_ERRORS = (tarfile.TarError, EOFError, OSError, ValueError, MemoryError, OverflowError)
# Headers whose data tarfile reads into memory.
_LARGE_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_LEADS_OUT = re.compile(r"^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)|\x00")

Wanted = Callable[[str], bool]
"""Whether the member of this name is read."""


class Member(NamedTuple):
    """One file of an archive; without a name, the archive itself from there on."""

    name: str
    content: Content | None
    """Null if it was not read."""
    error: SourceFormatError | None = None
    """Why not; null for a member that was not wanted."""


def is_tar(head: bytes) -> bool:
    """Whether a header with a right checksum begins here."""
    if len(head) < TAR_BLOCK_BYTES:
        return False
    try:
        tarfile.TarInfo.frombuf(head[:TAR_BLOCK_BYTES], "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True


def is_zip(head: bytes) -> bool:
    return head.startswith(_ZIP_MAGICS)


def tar_members(file: BinaryIO, wanted: Wanted) -> Iterator[Member]:
    seen_count = 0
    try:
        with tarfile.open(fileobj=file, mode="r|", tarinfo=_BoundedTarInfo) as archive:
            for info in archive:
                # Otherwise the archive keeps every header.
                archive.members.clear()  # pyright: ignore[reportAttributeAccessIssue]
                seen_count += 1
                require_member_count(seen_count)
                if not info.isdir():
                    yield _tar_member(archive, info, wanted)
    except SourceFormatError as error:
        yield Member("", None, error)
    except _TAR_ERRORS as error:
        damaged = SourceFormatError(
            "a damaged tar archive",
            got=f"{type(error).__name__} after {seen_count} files",
            expected="a whole archive",
            cure="Copy it again.",
        )
        yield Member("", None, damaged)


def zip_members(content: Content, wanted: Wanted) -> Iterator[Member]:
    expansion = Expansion()
    compressed_bytes = 0
    try:
        archive = zip_directory(content)
        for info in archive.infolist():
            if info.is_dir():
                continue
            compressed_bytes += info.compress_size
            problem = _name_problem(info.filename)
            if stat.S_ISLNK(info.external_attr >> 16):
                problem = _no_plain_file("a link in an archive")
            elif info.flag_bits & 1:
                problem = _no_plain_file("an encrypted file in an archive")
            if problem or not wanted(info.filename):
                yield Member(info.filename, None, problem)
                continue
            content_or_error = _zip_content(archive, info)
            if isinstance(content_or_error, SourceFormatError):
                yield Member(info.filename, None, content_or_error)
                continue
            yield Member(info.filename, content_or_error)
            expansion.add(content_or_error.size_bytes, compressed_bytes)
    except SourceFormatError as error:
        yield Member("", None, error)
    except ZIP_ERRORS as error:
        yield Member("", None, damaged_zip(error))


def _zip_content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Content | SourceFormatError:
    try:
        return copied(BoundedMember(archive, info))
    except SourceFormatError as error:
        return error
    except ZIP_ERRORS as error:
        return damaged_zip(error)


def _tar_member(archive: tarfile.TarFile, info: tarfile.TarInfo, wanted: Wanted) -> Member:
    problem = _name_problem(info.name)
    if info.issym() or info.islnk():
        problem = _no_plain_file("a link in an archive")
    elif not info.isreg() or info.issparse():
        problem = _no_plain_file("a device or a file with holes in an archive")
    elif info.size > COPIED_BYTES_MAX:
        problem = SourceFormatError(
            "a file in an archive too large to read",
            got=f"{info.size} bytes",
            expected=f"{COPIED_BYTES_MAX} at most",
            cure=UNPACK,
        )
    if problem or not wanted(info.name):
        return Member(info.name, None, problem)
    stream = archive.extractfile(info)
    assert stream is not None, "a regular file has content"
    content = copied(stream)
    if content.size_bytes != info.size:
        raise EOFError
    return Member(info.name, content)


class _BoundedTarInfo(tarfile.TarInfo):
    """Refuses headers whose data tarfile would read into memory, however large they are."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str | None, errors: str) -> _BoundedTarInfo:
        info = cast(_BoundedTarInfo, super().frombuf(buf, encoding or "utf-8", errors))
        if info.type in _LARGE_HEADERS and not 0 <= info.size <= TAR_HEADER_BYTES_MAX:
            raise SourceFormatError(
                "a tar header too large to read",
                got=f"{info.size} bytes",
                expected=f"{TAR_HEADER_BYTES_MAX} at most",
                cure=UNPACK,
            )
        return info


def _name_problem(name: str) -> SourceFormatError | None:
    if not _LEADS_OUT.search(name):
        return None
    return SourceFormatError("a name that leads out of the archive", expected="a path in it", cure=UNPACK)


def _no_plain_file(what: str) -> SourceFormatError:
    return SourceFormatError(what, expected="a plain file", cure=UNPACK)
