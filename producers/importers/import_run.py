"""One process's share of an import: files in, events booked, tallies kept.

**A bad piece never costs its neighbours**: it is listed, told to the lake as `EventRejected`, and the rest
goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from tracelake.lake.writing.deduplicate import Origin, Receipt
from tracelake.lake.writing.writer import Writer
from tracelake.producers.importers.finding import Found, FoundSiblings, Loaded, load
from tracelake.producers.importers.format_registry import importer_of
from tracelake.producers.importers.parallel_import import Part, Told
from tracelake.producers.importers.report import FileTally, ImportReport, Landed, RefusedPiece, import_report
from tracelake.producers.importers.source import (
    LFS_POINTER,
    HandedIn,
    Imported,
    Importer,
    Refused,
    SourceFile,
    excerpt_of,
    opened,
    refused,
    refused_pointer,
)
from tracelake.producers.importers.verdicts import PATCH, Verdict, rewards_of, verdicts_in
from tracelake.schemas.errors import EventInvalidError, SourceFormatError
from tracelake.schemas.events.event import Event
from tracelake.schemas.events.lake_events import EventRejected

# Small enough that one batch lands while the next is read.
FLUSH_BYTES = 16 * 2**20
NOT_A_TRACE_NAME = "not the name of a trace"
NOT_A_TRACE = "no known trace format"
READ_BESIDE = "read beside a trace"


class ImportRun:
    """The state of one import."""

    def __init__(self, writer: Writer, files: list[Found], chosen: tuple[Importer, ...]) -> None:
        self._writer = writer
        self._siblings = FoundSiblings(files)
        self._chosen = chosen
        self._tallies: dict[str, FileTally] = {}
        self._skipped: dict[str, str] = {}
        self._handed_in: dict[str, tuple[HandedIn, FileTally]] = {}
        self._verdicts: list[Verdict] = []
        self._landed = Landed()
        self._unflushed_bytes = 0
        self._notes: list[str] = []
        self.rollout_count = 0

    def take_each(self, files: Iterable[Found]) -> Iterator[str]:
        """Takes file after file; yields the address of each."""
        for loaded in load(files):
            self.take(loaded)
            yield loaded.found.uri

    def skip(self, files: Iterable[Found]) -> None:
        self._skipped |= {file.uri: NOT_A_TRACE_NAME for file in files}

    def part(self) -> Part:
        """What another process has to know of this one's files."""
        handed_in = {name: (rollout, tally.path) for name, (rollout, tally) in self._handed_in.items()}
        return Part(
            tallies=self._tallies,
            skipped=self._skipped,
            handed_in=handed_in,
            verdicts=self._verdicts,
            landed=self._landed,
            siblings_used=self._siblings.used,
            told=Told.of(self._writer.first_seen_ids()),
            rollout_count=self.rollout_count,
        )

    def absorb(self, part: Part) -> None:
        """Add another process's half. What both were told was landed twice; tables hold it once."""
        both = part.told.known_to(self._writer.first_seen_ids())
        same = sum(both)
        self._landed = Landed(
            self._landed.new + part.landed.new - len(both),
            self._landed.duplicate + part.landed.duplicate + same,
            self._landed.conflict + part.landed.conflict + len(both) - same,
        )
        self._tallies |= part.tallies
        self._tallies = dict(sorted(self._tallies.items()))
        self._skipped |= part.skipped
        self._siblings.used |= part.siblings_used
        self._verdicts += part.verdicts
        self._handed_in |= {
            name: (rollout, self._tallies[uri]) for name, (rollout, uri) in part.handed_in.items()
        }
        self.rollout_count += part.rollout_count

    def take(self, loaded: Loaded) -> None:
        file, source = loaded.found, loaded.source
        if source is None:
            error = loaded.error or SourceFormatError("a file that cannot be read", got=file.uri)
            self._tally(file.uri).refuse(Refused(str(error)))
        elif source.data.startswith(LFS_POINTER):
            self._take_pieces(source, None, refused_pointer(source))
        else:
            self._take_trace(file, source)

    def take_verdicts(self) -> None:
        """Rewards for the rollouts whose verdict was found in the same import."""
        rollouts = {name: tally for name, (_, tally) in self._handed_in.items()}
        handed_in = [rollout for rollout, _ in self._handed_in.values()]
        given = rewards_of(handed_in, self._verdicts, lambda folder: self._siblings.read(folder, PATCH))
        counted: set[str] = set()
        for event, uri, digest in given:
            self._add([event], Origin("imported", uri, digest))
            first = event.rollout_id not in counted
            rollouts[event.rollout_id].add_rewards((event.score or 0.0) if first else 0.0, 1)
            counted.add(event.rollout_id)
        unjudged = len(handed_in) - len(counted)
        if self._verdicts and unjudged:
            self._notes.append(
                f"{unjudged} rollouts have no verifier report that is certainly theirs: no reward"
            )

    def report(self, missing: list[RefusedPiece]) -> ImportReport:
        for uri in self._siblings.used & self._skipped.keys():
            self._skipped[uri] = READ_BESIDE
        reasons = Counter(self._skipped.values())
        return import_report(list(self._tallies.values()), missing, reasons, self._landed, self._notes)

    def _take_trace(self, file: Found, source: SourceFile) -> None:
        try:
            found = opened(source)
        except SourceFormatError as error:
            self._take_pieces(source, None, [refused(error, data=source.data)])
            return
        try:
            importer = importer_of(found, self._chosen)
        except SourceFormatError as error:
            verdicts = verdicts_in(found)
            self._verdicts += verdicts
            if verdicts or not file.named:
                self._skipped[file.uri] = READ_BESIDE if verdicts else NOT_A_TRACE
            else:
                self._take_pieces(source, None, [refused(error, data=source.data)])
            return
        self._take_pieces(source, importer, importer.read(found, self._siblings))

    def _take_pieces(
        self, source: SourceFile, importer: Importer | None, pieces: Iterable[Imported | Refused]
    ) -> None:
        tally = self._tally(source.uri, importer)
        origin = Origin("imported", source.uri, source.sha256)
        for piece in pieces:
            if isinstance(piece, Refused):
                self._refuse(source, tally, piece, origin)
                continue
            try:
                self._add(piece.events, origin)
            except EventInvalidError as error:
                line = piece.events[0].source_position
                self._refuse(
                    source, tally, Refused(str(error), line, excerpt_of(piece.rollout_id.encode())), origin
                )
                continue
            tally.add(piece)
            self.rollout_count += 1
            if piece.handed_in:
                self._handed_in[piece.rollout_id] = (piece.handed_in, tally)
        self._unflushed_bytes += len(source.data)
        if self._unflushed_bytes >= FLUSH_BYTES:
            self._writer.start_flush()
            self._unflushed_bytes = 0

    def _refuse(self, source: SourceFile, tally: FileTally, piece: Refused, origin: Origin) -> None:
        tally.refuse(piece)
        rejected = EventRejected(
            source_name=source.name, line=piece.line, reason=piece.reason, excerpt=piece.excerpt
        )
        self._add([rejected], origin)

    def _add(self, events: list[Event], origin: Origin) -> None:
        receipt: Receipt = self._writer.add(events, origin)
        landed = self._landed
        self._landed = Landed(
            landed.new + receipt.new_count,
            landed.duplicate + receipt.duplicate_count,
            landed.conflict + receipt.conflict_count,
        )

    def _tally(self, uri: str, importer: Importer | None = None) -> FileTally:
        if uri not in self._tallies:
            carried = () if importer is None else importer.not_carried
            self._tallies[uri] = FileTally(uri, importer.format if importer else None, carried)
        return self._tallies[uri]
