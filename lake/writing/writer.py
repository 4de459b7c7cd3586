"""The way into a lake: events become durable facts.

Flow of `append`: redact → name → deduplicate → spool, with a sync → acknowledge. Segments of the spool are
sealed into landed files, one per kind, when they are full, old or no longer needed.
Flow of `add` and `flush`: redact → name → deduplicate → queue in memory → land one file per kind, without the
spool. For importers, which can start again.

**Acknowledged means durable**: `append` and `flush` return after a sync. Stores without a spool land before
they acknowledge.
**Same key, same payload: a no-op. Same key, other payload: both events are written, with a `ConflictFound`.**
**Sequence numbers are contiguous** within one opening of a writer (its epoch), over all kinds.
**Nothing is dropped**: a producer that appends faster than events land waits.
"""

from __future__ import annotations

import threading
import uuid
import weakref
from collections import defaultdict
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from types import TracebackType

from tracelake.lake.landed.ledger import put_writer_ledger
from tracelake.lake.landed.writing import landed_file
from tracelake.lake.stores.store import ObjectStore
from tracelake.lake.writing.deduplicate import LIVE, Deduplicator, Origin, PreparedEvent, Receipt
from tracelake.lake.writing.lander import Lander
from tracelake.lake.writing.rows import EventRow, event_rows_to_table
from tracelake.lake.writing.spool.recovery import recover
from tracelake.lake.writing.spool.segment import event_frame
from tracelake.lake.writing.spool.spool import Spool
from tracelake.schemas.errors import LakeError
from tracelake.schemas.events.event import Event

# Sealing a larger segment would need more fresh memory, which costs more time than it seems.
SEGMENT_BYTES = 8 * 2**20
SEAL_AFTER_S = 5.0
SEGMENTS_WAITING_MAX = 16
# A larger append is landed sooner than it is spooled and sealed.
SPOOLED_BYTES_MAX = 8 * 2**20


class Writer:
    """One opening of a lake for writing; threads may share it."""

    def __init__(self, store: ObjectStore, run_id: str, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._store = store
        self._segment_bytes = segment_bytes
        self._run_id = run_id
        self._epoch = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:12]}"
        self._deduplicator: Deduplicator | None = None
        self._next_seq = 0
        self._queued: defaultdict[str, list[EventRow]] = defaultdict(list)
        self._lander = Lander(store)
        self._spool: Spool | None = None
        self._seal_timer: threading.Timer | None = None
        self._lock = threading.RLock()
        self._closed = False

    def append(self, events: Iterable[Event], origin: Origin = LIVE) -> Receipt:
        """Write events; they are durable when it returns.

        Raises EventInvalidError; no event of the call was written then. Raises SpoolError or an error of the
        store; it is unknown then which events of the call were written.
        """
        prepared = self._open().redact_and_name(events, origin)
        with self._close_on_error():
            with self._lock:
                receipt, to_write = self._open().deduplicate(prepared)
                spool = self._spool_for(to_write)
                if spool is None:
                    self._queue(to_write)
                    self.flush()
                    return receipt
                recorded_at = datetime.now(UTC)
                ticket = spool.push([event_frame(item.to_spooled(recorded_at)) for item in to_write])
                first_seq = self._next_seq
            # Without the lock, so that threads that wait here share one sync.
            spool.commit(ticket, first_seq)
            self._seal_if_due(spool)
        return receipt

    def add(self, events: Iterable[Event], origin: Origin = LIVE) -> Receipt:
        """Queue events in memory; the next `flush` makes them durable. After an error, none is queued."""
        prepared = self._open().redact_and_name(events, origin)
        with self._lock:
            receipt, to_write = self._open().deduplicate(prepared)
            self._queue(to_write)
        return receipt

    def start_flush(self) -> None:
        """Begin to land spooled and queued events in the background; `flush` waits for them."""
        with self._lock, self._close_on_error():
            self._lander.wait()
            self._seal_open_segment()
            recorded_at = datetime.now(UTC)
            for kind, rows in self._queued.items():
                # In this thread: two threads that both need the interpreter are slower than one.
                table = event_rows_to_table(
                    kind,
                    rows,
                    self._next_seq,
                    run_id=self._run_id,
                    epoch=self._epoch,
                    recorded_at=recorded_at,
                )
                self._next_seq += len(rows)
                self._lander.submit(partial(landed_file, table))
            self._queued.clear()

    def flush(self) -> None:
        """Returns when all appended and queued events have landed. Raises what landing raised."""
        with self._lock, self._close_on_error():
            self.start_flush()
            self._lander.wait()

    def land_spooled(self) -> None:
        """Returns when all acknowledged events have landed; does nothing for a closed writer."""
        with self._lock, self._close_on_error():
            if not self._closed and self._spool is not None:
                self._seal_open_segment()
                self._lander.wait()

    def seal_idle(self) -> None:
        """Land what an idle writer has spooled, so that others see it. The next call raises its errors."""
        with suppress(LakeError), self._lock, self._close_on_error():
            if not self._closed:
                self._seal_open_segment()

    def count_lost(self, byte_count: int) -> None:
        """Count an event that a producer dropped before appending it, so that no loss is silent."""
        with self._lock:
            self._open().counter.count("lost", byte_count)

    def knows_key_of(self, event: Event) -> bool:
        """Whether the lake had an event under this event's key when this writer first looked, or this writer
        was given one since. Raises EventInvalidError."""
        with self._lock:
            return self._open().knows_key_of(event)

    def first_seen_ids(self) -> dict[str, str]:
        """Key hash to event id of each event of this writer that was new to the lake."""
        return {} if self._deduplicator is None else self._deduplicator.first_seen_ids()

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            try:
                self.flush()
                self._put_ledger()
                self._release_spool(empty=True)
            finally:
                self._stop()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> Deduplicator:
        """At first use, recover the spool of crashed writers. Raises LakeError for a closed writer."""
        with self._lock:
            if self._closed:
                raise LakeError("the writer is closed", cure="Open another with `lake.writer`.")
            if self._deduplicator is None:
                with self._close_on_error():
                    recover(self._store)
                    self._deduplicator = Deduplicator(self._store)
            return self._deduplicator

    def _queue(self, events: list[PreparedEvent]) -> None:
        for item in events:
            self._queued[item.event.KIND].append(item.to_row())

    def _spool_for(self, events: list[PreparedEvent]) -> Spool | None:
        """Null if they land directly: without a spool, behind queued events, or as a large append."""
        folder = self._store.spool_folder
        byte_count = sum(item.canonical.byte_count for item in events)
        if folder is None or self._queued or byte_count > SPOOLED_BYTES_MAX:
            return None
        if self._spool is None:
            self._spool = Spool(folder, self._epoch, self._run_id)
        return self._spool

    def _seal_if_due(self, spool: Spool) -> None:
        """A full segment now, any other one after `SEAL_AFTER_S`."""
        self._lander.start_process_if_due(spool.segment_bytes)
        if spool.segment_bytes >= self._segment_bytes:
            with self._lock:
                self._lander.wait(SEGMENTS_WAITING_MAX)
                self._seal_open_segment()
        elif self._seal_timer is None and spool.segment_bytes:
            self._seal_timer = threading.Timer(SEAL_AFTER_S, _seal_idle_writer, (weakref.ref(self),))
            self._seal_timer.daemon = True
            self._seal_timer.start()

    def _seal_open_segment(self) -> None:
        """Close it and begin to land its events."""
        if self._seal_timer is not None:
            self._seal_timer.cancel()
            self._seal_timer = None
        segment = None if self._spool is None else self._spool.close_segment(self._next_seq)
        if segment is None:
            return
        self._next_seq += segment.event_count
        self._lander.submit_segment(segment)

    @contextmanager
    def _close_on_error(self) -> Generator[None]:
        """After an error, events that this writer knows may not be durable: it must not deduplicate again."""
        try:
            yield
        except BaseException:
            self._stop()
            raise

    def _stop(self) -> None:
        """Close without landing anything more. What is in the spool is recovered later."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._lander.stop()
            with suppress(OSError):
                self._release_spool(empty=False)

    def _put_ledger(self) -> None:
        if self._deduplicator is None:
            return
        ledger = self._deduplicator.counter.writer_ledger(self._epoch, self._run_id)
        if ledger is not None:
            put_writer_ledger(self._store, ledger)

    def _release_spool(self, *, empty: bool) -> None:
        if self._seal_timer is not None:
            self._seal_timer.cancel()
        if self._spool is not None:
            self._spool.release(empty=empty)
            self._spool = None


def _seal_idle_writer(reference: weakref.ref[Writer]) -> None:
    # The timer must not keep an abandoned writer alive.
    writer = reference()
    if writer is not None:
        writer.seal_idle()
