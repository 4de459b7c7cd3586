"""The way in: events are named, compared with what is known, made durable and landed.

Flow: `append` → named, judged → spooled and acknowledged → sealed into landed files, one per kind.
Many at once: `add` books in memory → `flush` lands one file per kind, without the spool.

**Acknowledged means durable**: `append` and `flush` return after everything of theirs was synced. Stores
without a spool land before they acknowledge.
**Same key, same payload: a no-op. Same key, other payload: both are kept and `ConflictFound` is told.**
**Sequence numbers are contiguous** within one opening of a writer (its epoch), over all kinds.
**Never dropped**: who appends faster than events land waits.
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
from tracelake.lake.writing.deduplicate import LIVE, PreparedEvent, Deduplicator, Origin, Receipt
from tracelake.lake.writing.lander import Lander
from tracelake.lake.writing.spool.recovery import recover
from tracelake.lake.writing.rows import EventRow, event_rows_to_table
from tracelake.lake.writing.spool.segment import event_frame
from tracelake.lake.writing.spool.spool import Spool
from tracelake.schemas.errors import LakeError
from tracelake.schemas.events.event import Event

# Small enough that what sealing one needs of memory is little: fresh memory costs more time than it seems.
SEGMENT_BYTES = 8 * 2**20
SEAL_AFTER_S = 5.0
SEGMENTS_WAITING_MAX = 16
# Beyond this an append is quicker landed than spooled and sealed.
SPOOLED_BYTES_MAX = 8 * 2**20


class Writer:
    """One opening; threads may share it."""

    def __init__(self, store: ObjectStore, run_id: str, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._store = store
        self._segment_bytes = segment_bytes
        self._run_id = run_id
        self._epoch = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:12]}"
        self._judge: Deduplicator | None = None
        self._next_seq = 0
        self._waiting: defaultdict[str, list[EventRow]] = defaultdict(list)
        self._lander = Lander(store)
        self._spool: Spool | None = None
        self._seal_timer: threading.Timer | None = None
        self._lock = threading.RLock()
        self._closed = False

    def append(self, events: Iterable[Event], origin: Origin = LIVE) -> Receipt:
        """Durable when it returns. Raises EventInvalidError, and nothing of the call is kept then; SpoolError
        or what the store raises, and what became of the call is not known then."""
        with self._lock:
            judge = self._opened()
        accepted = judge.accept(events, origin)
        with self._or_failed():
            with self._lock:
                receipt, fresh = self._opened().judge(accepted)
                spool = self._spool_for(fresh)
                if spool is None:
                    self._book(fresh)
                    self.flush()
                    return receipt
                recorded_at = datetime.now(UTC)
                ticket = spool.push([event_frame(item.spooled(recorded_at)) for item in fresh])
                first_seq = self._next_seq
            spool.commit(ticket, first_seq)
            self._seal_in_time(spool)
        return receipt

    def add(self, events: Iterable[Event], origin: Origin = LIVE) -> Receipt:
        """Book events; they are durable after the next `flush`. All of the call are booked or, on an error,
        none."""
        with self._lock:
            judge = self._opened()
        accepted = judge.accept(events, origin)
        with self._lock:
            receipt, fresh = self._opened().judge(accepted)
            self._book(fresh)
        return receipt

    def count_lost(self, byte_count: int) -> None:
        """An event that a producer gave up before it was appended: counted, so that no loss is silent."""
        with self._lock:
            self._opened().counting.book("lost", byte_count)

    def first_seen_ids(self) -> dict[str, str]:
        """Key hash to event id of each fact that this writer was the first to tell."""
        return {} if self._judge is None else self._judge.first_seen_ids()

    def start_flush(self) -> None:
        """Begin to land what is spooled and booked, beside the caller; `flush` waits for it."""
        with self._lock, self._or_failed():
            self._lander.wait()
            self._seal()
            recorded_at = datetime.now(UTC)
            for kind, stamped in self._waiting.items():
                # Made here: two threads that both need the interpreter cost more than one after the other.
                table = event_rows_to_table(
                    kind,
                    stamped,
                    self._next_seq,
                    run_id=self._run_id,
                    epoch=self._epoch,
                    recorded_at=recorded_at,
                )
                self._next_seq += len(stamped)
                self._lander.submit(partial(landed_file, table))
            self._waiting.clear()

    def flush(self) -> None:
        """Returns when everything appended and booked has landed. Raises what landing raised."""
        with self._lock, self._or_failed():
            self.start_flush()
            self._lander.wait()

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            try:
                self.flush()
                self._put_book()
                self._release(empty=True)
            finally:
                self._fail()

    def land_spooled(self) -> None:
        """Returns when what was acknowledged has landed; nothing for a closed writer."""
        with self._lock, self._or_failed():
            if not self._closed and self._spool is not None:
                self._seal()
                self._lander.wait()

    def seal_idle(self) -> None:
        """Land what an idle writer has spooled, so that others see it; errors wait for the next call."""
        with suppress(LakeError), self._lock, self._or_failed():
            if not self._closed:
                self._seal()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _opened(self) -> Deduplicator:
        if self._closed:
            raise LakeError("the writer is closed", cure="Open another with `lake.writer`.")
        if self._judge is None:
            with self._or_failed():
                recover(self._store)
                self._judge = Deduplicator(self._store)
        return self._judge

    def _book(self, fresh: list[PreparedEvent]) -> None:
        for event, told, origin, redactions in fresh:
            row = EventRow(event, told.identity, *origin, redactions, told.byte_count)
            self._waiting[event.KIND].append(row)

    def _spool_for(self, fresh: list[PreparedEvent]) -> Spool | None:
        """Null where landing is the way: no spool, much at once, or booked events that came before."""
        folder = self._store.spool_folder
        byte_count = sum(item.named.byte_count for item in fresh)
        if folder is None or self._waiting or byte_count > SPOOLED_BYTES_MAX:
            return None
        if self._spool is None:
            self._spool = Spool(folder, self._epoch, self._run_id)
        return self._spool

    def _seal_in_time(self, spool: Spool) -> None:
        self._lander.make_ready(spool.segment_bytes)
        if spool.segment_bytes >= self._segment_bytes:
            with self._lock:
                self._lander.wait(SEGMENTS_WAITING_MAX)
                self._seal()
        elif self._seal_timer is None and spool.segment_bytes:
            self._seal_timer = threading.Timer(SEAL_AFTER_S, _seal_of, (weakref.ref(self),))
            self._seal_timer.daemon = True
            self._seal_timer.start()

    def _seal(self) -> None:
        """Begin to land the open segment."""
        if self._seal_timer is not None:
            self._seal_timer.cancel()
            self._seal_timer = None
        segment = None if self._spool is None else self._spool.close_segment(self._next_seq)
        if segment is None:
            return
        self._next_seq += segment.event_count
        self._lander.submit_segment(segment)

    @contextmanager
    def _or_failed(self) -> Generator[None]:
        """What this writer believes to be known may not be durable after an error: it must not judge another
        event."""
        try:
            yield
        except BaseException:
            self._fail()
            raise

    def _fail(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._lander.stop()
            with suppress(OSError):
                self._release(empty=False)

    def _put_book(self) -> None:
        book = None if self._judge is None else self._judge.counting.closed(self._epoch, self._run_id)
        if book is not None:
            put_writer_ledger(self._store, book)

    def _release(self, *, empty: bool) -> None:
        if self._seal_timer is not None:
            self._seal_timer.cancel()
        if self._spool is not None:
            self._spool.release(empty=empty)
            self._spool = None


def _seal_of(writer: weakref.ref[Writer]) -> None:
    """What the timer of an idle writer does."""
    found = writer()
    if found is not None:
        found.seal_idle()
