"""Locking an experiment: which data, code and trainer settings its launches run on."""

from __future__ import annotations

from pathlib import Path

from tracelake.consumers.launches.settings import trainer_config
from tracelake.lake import Lake
from tracelake.schemas.experiments.experiment import Experiment, spec_hash
from tracelake.schemas.experiments.lock import Lock, compare_locks, lock_text, read_lock
from tracelake.schemas.version import TRACELAKE_VERSION

TRAINING_TABLE = "training_rows"


def lock_of(lake: Lake, experiment: Experiment, path: Path) -> Lock:
    """The experiment's lock as it is now, compared with the file if there is one.

    Raises PinMissingError, PinChangedError, LockMismatchError.
    """
    pin = lake.open_pin(experiment.data.pin).pin
    lock = Lock(
        experiment_id=experiment.id,
        spec_hash=spec_hash(experiment),
        pin=pin.reference,
        pin_digest=pin.digest,
        table_digests={name: table.digest for name, table in pin.tables.items() if name == TRAINING_TABLE},
        trainer_config=trainer_config(experiment),
        tracelake_version=TRACELAKE_VERSION,
    )
    if path.is_file():
        compare_locks(read_lock(path), lock, name=path.name)
    return lock


def write_lock(lock: Lock, path: Path) -> None:
    """Create the file, whole or not at all; an existing one stays."""
    if path.is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.tmp")
    partial.write_text(lock_text(lock), encoding="utf-8")
    partial.replace(path)
