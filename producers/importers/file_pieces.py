"""From an opened file to the sources in it: the file itself, what is compressed in it, or the members of an
archive.

**An archive in an archive is refused**, and what is compressed twice, except a zip file that is one document.
**A member has its place in its address**: `runs.tar.xz!run1/a.jsonl`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from tracelake.lake.secrets.public_text import public_uri
from tracelake.producers.importers.archives import Member, Wanted, is_tar, is_zip, tar_members, zip_members
from tracelake.producers.importers.companions import ArchiveNeighbours, FolderNeighbours
from tracelake.producers.importers.compression import decompressed
from tracelake.producers.importers.content import CHUNK_BYTES, Content
from tracelake.producers.importers.expansion import Expansion
from tracelake.producers.importers.find_files import has_trace_name
from tracelake.producers.importers.importer import well_formed
from tracelake.producers.importers.open_files import OpenedFile, copied
from tracelake.producers.importers.source import Neighbours, Source, read_source
from tracelake.producers.importers.zip_documents import is_zip_document
from tracelake.schemas.errors import SourceFormatError

HEAD_BYTES = 512
NOT_A_TRACE_NAME = "not the name of a trace"


class FilePiece(NamedTuple):
    """A file, or one of the files in it."""

    uri: str
    content: Content | None
    source: Source | None = None
    error: Exception | None = None
    """Why there is no source; null: it does not have the name of a trace."""


def file_pieces(opened: OpenedFile, neighbours: FolderNeighbours) -> Iterator[FilePiece]:
    uri, content = opened.file.uri, opened.content
    if content is None:
        yield FilePiece(uri, None, error=opened.error)
        return
    head = content.head(HEAD_BYTES)
    try:
        stream = decompressed(head, content.open())
        if stream is not None and is_tar(stream.read(HEAD_BYTES)):
            yield from _archive_pieces(uri, partial(_compressed_tar_members, head, content), neighbours)
            return
        if is_tar(head):
            yield from _archive_pieces(uri, lambda wanted: tar_members(content.open(), wanted), neighbours)
            return
        if is_zip(head) and not is_zip_document(content):
            yield from _archive_pieces(uri, partial(zip_members, content), neighbours)
            return
        inner = _decompressed_once(content)
        if inner is not content:
            _refuse_archive(inner, "compressed twice")
    except SourceFormatError as error:
        yield FilePiece(uri, content, error=error)
        return
    yield _piece(uri, inner, neighbours.of(opened.file))


def _archive_pieces(
    uri: str, members: Callable[[Wanted], Iterator[Member]], neighbours: FolderNeighbours
) -> Iterator[FilePiece]:
    inside = ArchiveNeighbours(uri, members, neighbours.used)
    expansion = Expansion()
    compressed_bytes = 0
    for name, content, error in members(has_trace_name):
        member_uri = f"{uri}!{public_uri(well_formed(name))}" if name else uri
        if content is None:
            yield FilePiece(member_uri, None, error=error)
            continue
        try:
            inner = _decompressed_once(content)
            if inner is not content:
                compressed_bytes += content.size_bytes
                expansion.add(inner.size_bytes, compressed_bytes)
            _refuse_archive(inner, "an archive in an archive")
        except SourceFormatError as refused:
            yield FilePiece(member_uri, content, error=refused)
            continue
        yield _piece(member_uri, inner, inside)


def _compressed_tar_members(head: bytes, content: Content, wanted: Wanted) -> Iterator[Member]:
    stream = decompressed(head, content.open())
    assert stream is not None, "it was decompressed before"
    yield from tar_members(stream, wanted)
    try:
        # The checksum of the whole lies behind the end of the archive.
        while stream.read(CHUNK_BYTES):
            pass
    except SourceFormatError as error:
        yield Member("", None, error)


def _piece(uri: str, content: Content, neighbours: Neighbours) -> FilePiece:
    try:
        return FilePiece(uri, content, read_source(uri, content, neighbours))
    except SourceFormatError as error:
        return FilePiece(uri, content, error=error)


def _decompressed_once(content: Content) -> Content:
    """What is in a compressed file; else the same content. Raises SourceFormatError."""
    stream = decompressed(content.head(HEAD_BYTES), content.open())
    return content if stream is None else copied(stream)


def _refuse_archive(content: Content, what: str) -> None:
    head = content.head(HEAD_BYTES)
    is_archive = is_tar(head) or (is_zip(head) and not is_zip_document(content))
    if is_archive or decompressed(head, content.open()) is not None:
        raise SourceFormatError(
            what,
            got="another archive or compressed file in it",
            expected="traces",
            cure="Unpack it and import the folder.",
        )
