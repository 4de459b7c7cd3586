"""Imports the files of one process: sources → format → rollouts → events in a writer, and counts what came of
it.

Flow: `import_file` → each source in the file → the importer that claims it → each rollout or refusal.

**A bad piece never costs its neighbours**: the share lists it, an `EventRejected` event records it, and the
import continues.
**Rollouts are flushed as they come**: memory does not grow with the size of a source.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from tracelake.lake.secrets.public_text import redact_text
from tracelake.lake.writing.deduplicate import Origin
from tracelake.producers.importers.companions import FolderNeighbours
from tracelake.producers.importers.content import WHOLE_BYTES_MAX, Content
from tracelake.producers.importers.dry_run import EventSink
from tracelake.producers.importers.file_pieces import NOT_A_TRACE_NAME, FilePiece, file_pieces
from tracelake.producers.importers.find_files import FoundFile
from tracelake.producers.importers.importer import (
    LFS_POINTER,
    SHAPE_ERRORS,
    ImportedRollout,
    Importer,
    ImportOptions,
    Refusal,
    Submission,
    excerpt_of,
    refusal_of,
)
from tracelake.producers.importers.json_lines import json_lines
from tracelake.producers.importers.losses import Losses
from tracelake.producers.importers.open_files import OpenedFile
from tracelake.producers.importers.parallel_import import NewFactIds
from tracelake.producers.importers.recognise import importer_for
from tracelake.producers.importers.report import EventCounts, FileTally, Outcome
from tracelake.producers.importers.source import EXCERPT_BYTES, Source, path_parts
from tracelake.producers.importers.swebench_reports import (
    REPORT_FORMAT,
    InstanceReport,
    instance_reports_in,
    rewards_from,
)
from tracelake.schemas.errors import EventInvalidError, SourceFormatError, TracelakeError, explain
from tracelake.schemas.events.event import Event
from tracelake.schemas.events.lake_events import EventRejected
from tracelake.schemas.events.rollout_events import RolloutEnded, RolloutStarted

# Small enough that one batch lands while the next is read.
FLUSH_BYTES = 16 * 2**20
SOURCE_NAME_PARTS = 3
LOST_PATHS_MAX = 20_000
NOT_A_TRACE = "no known trace format"
READ_WITH_A_TRACE = "read together with a trace"


@dataclass
class ImportShare:
    """What one process imported: plain data, which another process can receive."""

    tallies: dict[str, FileTally] = field(default_factory=dict)
    """By the address of the file or the member."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Reason by the address."""
    not_claimed: dict[str, str] = field(default_factory=dict)
    """What a skipped file looks like, by its address."""
    submissions: dict[str, Submission] = field(default_factory=dict)
    """By rollout."""
    instance_reports: list[InstanceReport] = field(default_factory=list)
    companions_used: set[str] = field(default_factory=set)
    events: EventCounts = field(default_factory=EventCounts)
    outcome_by_rollout: dict[str, Outcome] = field(default_factory=dict)
    """Of the first recording of each rollout in this import, and of later ones that added something."""
    known_again_count: int = 0
    """Further recordings of a rollout of this import that added nothing."""
    weak_count: int = 0
    losses: dict[str, Losses] = field(default_factory=dict)
    """By format."""
    not_carried: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By format."""
    rollout_count: int = 0
    file_count: int = 0
    notes: list[str] = field(default_factory=list)


class FileImporter:
    """Imports files through one writer, and adds up what it did in `share`."""

    def __init__(
        self,
        writer: EventSink,
        found: list[FoundFile],
        format: str,
        options: ImportOptions,
        should_stop: Callable[[], bool],
        on_piece: Callable[[OpenedFile, int], None] | None = None,
    ) -> None:
        self.share = ImportShare()
        self._writer = writer
        self._format = format
        self._options = options
        self._should_stop = should_stop
        self._on_piece = on_piece
        self._neighbours = FolderNeighbours(found)
        self.share.companions_used = self._neighbours.used
        self._unflushed_bytes = 0

    def import_file(self, opened: OpenedFile) -> None:
        """One file with everything in it, until the import is stopped."""
        for piece in file_pieces(opened, self._neighbours):
            self._import_piece(piece, opened)
            if self._should_stop():
                return
        self.share.file_count += 1

    def _import_piece(self, piece: FilePiece, opened: OpenedFile) -> None:
        content, source = piece.content, piece.source
        if content is not None and content.head(len(LFS_POINTER)) == LFS_POINTER:
            self._add_pieces(piece, None, _lfs_pointer_refusals(content), opened)
        elif source is None:
            if piece.error is None:
                self.share.skipped[piece.uri] = NOT_A_TRACE_NAME
                return
            data = b"" if content is None else content.head(EXCERPT_BYTES)
            refusal = refusal_of(_shown_error(piece.error), data=data)
            self._add_pieces(piece, None, [refusal], opened)
        else:
            try:
                importer = importer_for(source, self._format)
            except SourceFormatError as error:
                self._import_unclaimed(piece, source, error, opened)
                return
            self._add_pieces(piece, importer, importer.read(source, self._options), opened)

    def _import_unclaimed(
        self, piece: FilePiece, source: Source, unclaimed: SourceFormatError, opened: OpenedFile
    ) -> None:
        """A file that no format claims: it may be a verifier's report."""
        try:
            reports = instance_reports_in(source)
        except SHAPE_ERRORS as error:
            refusal = refusal_of(error, data=source.head(), format=REPORT_FORMAT)
            self._add_pieces(piece, None, [refusal], opened)
            return
        if reports:
            self.share.instance_reports += reports
            self.share.skipped[piece.uri] = READ_WITH_A_TRACE
        elif source.damage is not None:
            self._add_pieces(piece, None, [refusal_of(source.damage, data=source.head())], opened)
        elif opened.file.named and piece.uri == opened.file.uri:
            self._add_pieces(piece, None, [refusal_of(unclaimed, data=source.head())], opened)
        else:
            self.share.skipped[piece.uri] = NOT_A_TRACE
            self.share.not_claimed[piece.uri] = str(unclaimed)

    def _add_pieces(
        self,
        piece: FilePiece,
        importer: Importer | None,
        found: Iterable[ImportedRollout | Refusal],
        opened: OpenedFile,
    ) -> None:
        tally = self._tally_of(piece.uri, importer)
        origin = Origin("imported", piece.uri, _sha256(piece))
        is_streamed = piece.source is not None and piece.source.container != "json"
        for each in found:
            refusal = each if isinstance(each, Refusal) else self._add_rollout(each, tally, origin, importer)
            if refusal:
                tally.refuse(refusal)
                self._add_events([_rejected(piece.uri, refusal)], origin)
            if is_streamed and isinstance(each, ImportedRollout):
                self._count_unflushed(_text_length(each.events))
            if self._on_piece:
                self._on_piece(opened, self.share.rollout_count)
            if self._should_stop():
                break
        if not is_streamed and piece.content is not None:
            self._count_unflushed(piece.content.size_bytes)

    def _add_rollout(
        self, rollout: ImportedRollout, tally: FileTally, origin: Origin, importer: Importer | None
    ) -> Refusal | None:
        try:
            outcome = self._add_events_of(rollout, origin)
        except EventInvalidError as error:
            line = rollout.events[0].source_position if rollout.events else None
            return Refusal(redact_text(str(error)), line, excerpt_of(rollout.rollout_id.encode()))
        share = self.share
        tally.add(rollout)
        share.rollout_count += 1
        share.weak_count += rollout.weak_identity
        if importer is not None:
            losses = share.losses.setdefault(importer.format, Losses())
            losses.add(rollout.losses)
            _limit(losses.extra)
            _limit(losses.notes)
        if rollout.submission:
            share.submissions[rollout.rollout_id] = rollout.submission
        if outcome == "known" and rollout.rollout_id in share.outcome_by_rollout:
            share.known_again_count += 1
        else:
            share.outcome_by_rollout[rollout.rollout_id] = outcome
        return None

    def _add_events_of(self, rollout: ImportedRollout, origin: Origin) -> Outcome:
        events = rollout.events
        started = next((event for event in events if isinstance(event, RolloutStarted)), None)
        was_known = started is not None and self._writer.knows_key_of(started)
        ended = next((event for event in events if isinstance(event, RolloutEnded)), None)
        is_other_length = was_known and ended is not None and not self._writer.knows_key_of(ended)
        new_count, _, conflict_count = self._add_events(events, origin)
        if conflict_count:
            return "in_conflict"
        if not was_known:
            return "new"
        if new_count == 0:
            return "known"
        return "shorter" if is_other_length and new_count == 1 else "extended"

    def _add_events(self, events: Iterable[Event], origin: Origin) -> EventCounts:
        receipt = self._writer.add(events, origin)
        counts = self.share.events
        self.share.events = EventCounts(
            counts.new + receipt.new_count,
            counts.duplicate + receipt.duplicate_count,
            counts.conflict + receipt.conflict_count,
        )
        return EventCounts(receipt.new_count, receipt.duplicate_count, receipt.conflict_count)

    def _count_unflushed(self, byte_count: int) -> None:
        self._unflushed_bytes += byte_count
        if self._unflushed_bytes >= FLUSH_BYTES:
            self._writer.start_flush()
            self._unflushed_bytes = 0

    def _tally_of(self, uri: str, importer: Importer | None) -> FileTally:
        tallies = self.share.tallies
        if importer is not None:
            self.share.not_carried.setdefault(importer.format, importer.not_carried)
        if uri not in tallies:
            tallies[uri] = FileTally(uri, importer.format if importer else None)
        return tallies[uri]

    def add_worker_share(self, other: ImportShare, new_fact_ids: NewFactIds) -> None:
        """Add the share of another process. A fact that both wrote landed twice, but tables contain it
        once."""
        share = self.share
        duplicate_count, conflict_count = new_fact_ids.shared_with(self._writer.first_seen_ids())
        share.events = EventCounts(
            share.events.new + other.events.new - duplicate_count - conflict_count,
            share.events.duplicate + other.events.duplicate + duplicate_count,
            share.events.conflict + other.events.conflict + conflict_count,
        )
        share.tallies |= other.tallies
        share.skipped |= other.skipped
        share.not_claimed |= other.not_claimed
        share.submissions |= other.submissions
        share.instance_reports += other.instance_reports
        share.companions_used |= other.companions_used
        share.not_carried |= other.not_carried
        for format, losses in other.losses.items():
            share.losses.setdefault(format, Losses()).add(losses)
        share.known_again_count += len(share.outcome_by_rollout.keys() & other.outcome_by_rollout.keys())
        share.known_again_count += other.known_again_count
        share.outcome_by_rollout |= other.outcome_by_rollout
        share.weak_count += other.weak_count
        share.rollout_count += other.rollout_count
        share.file_count += other.file_count

    def add_reported_rewards(self) -> None:
        """Rewards for rollouts whose submission a verifier report in the same import grades."""
        share = self.share
        submissions = share.submissions.values()
        graded: set[str] = set()
        for event, uri, digest in rewards_from(share.instance_reports, submissions):
            self._add_events([event], Origin("imported", uri, digest))
            # Only the first of several evaluations counts in the report's sum.
            score = 0.0 if event.rollout_id in graded else event.score or 0.0
            share.tallies[share.submissions[event.rollout_id].source_uri].add_rewards(score, 1)
            graded.add(event.rollout_id)
        ungraded_count = len(submissions) - len(graded)
        if share.instance_reports and ungraded_count:
            share.notes.append(
                f"{ungraded_count} rollouts have no verifier report that is certainly theirs: no reward"
            )


def _lfs_pointer_refusals(content: Content) -> Iterator[Refusal]:
    """One for each line of the pointer, because each may stand for a record of the missing file."""
    reason = explain(
        "a git-lfs pointer instead of the file",
        expected="the data itself",
        cure="Run `git lfs pull` at its origin.",
    )
    for line in json_lines(content):
        yield Refusal(reason, line.number, excerpt_of(line.data))


def _rejected(uri: str, refusal: Refusal) -> EventRejected:
    name = "/".join(path_parts(uri)[-SOURCE_NAME_PARTS:])
    return EventRejected(source_name=name, line=refusal.line, reason=refusal.reason, excerpt=refusal.excerpt)


def _sha256(piece: FilePiece) -> str | None:
    """Null for a large file that could not be read: nothing comes of it."""
    if piece.source is not None:
        return piece.source.sha256()
    content = piece.content
    return content.sha256() if content is not None and content.size_bytes <= WHOLE_BYTES_MAX else None


def _shown_error(error: Exception) -> Exception:
    """An error whose text may be printed; an OSError repeats the path."""
    if isinstance(error, TracelakeError):
        return error
    got = error.strerror if isinstance(error, OSError) and error.strerror else redact_text(str(error))
    return SourceFormatError("cannot be read", got=f"{type(error).__name__}: {got}")


def _text_length(events: list[Event]) -> int:
    """About how much memory the events take."""
    return sum(
        len(value) for event in events for value in event.__dict__.values() if isinstance(value, (str, list))
    )


def _limit(counts: Counter[str]) -> None:
    """Foreign keys without end must not fill the memory."""
    if len(counts) > LOST_PATHS_MAX:
        most = dict(counts.most_common(LOST_PATHS_MAX // 2))
        others = counts.total() - sum(most.values())
        counts.clear()
        counts.update(most)
        counts["… others"] += others
