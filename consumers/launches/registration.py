"""Registering an experiment before it runs, and locking what it runs on."""

from __future__ import annotations

from pathlib import Path

from tracelake.consumers.launches.launch import TRAINING_TABLE
from tracelake.lake import Lake
from tracelake.schemas.experiments.experiment import Experiment, spec_hash
from tracelake.schemas.experiments.lock import Lock, compare_locks, lock_text, read_lock
from tracelake.schemas.experiments.registration import registration_of
from tracelake.schemas.version import TRACELAKE_VERSION


def register(lake: Lake, experiment: Experiment) -> str:
    """Land the specification as an event; its hash. Registering the same specification again is a no-op."""
    event = registration_of(experiment)
    with lake.writer(f"register-{experiment.id}") as writer:
        writer.append([event])
    return event.spec_hash


def locked(lake: Lake, experiment: Experiment, path: Path) -> Lock:
    """The launch's lock: compared with the file, or written where there is none.

    Raises PinMissingError, PinChangedError, LockMismatchError.
    """
    pin = lake.open_pin(experiment.data.pin).pin
    lock = Lock(
        experiment_id=experiment.id,
        spec_hash=spec_hash(experiment),
        pin=pin.reference,
        pin_digest=pin.digest,
        table_digests={name: table.digest for name, table in pin.tables.items() if name == TRAINING_TABLE},
        tracelake_version=TRACELAKE_VERSION,
    )
    if path.is_file():
        compare_locks(read_lock(path), lock, name=path.name)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(lock_text(lock), encoding="utf-8")
    return lock
