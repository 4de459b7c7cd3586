"""Goal: a training resumes from the newest complete checkpoint, and from no other.

Method: folders as left by a process that died while writing, or changed afterwards, and the events in the
lake.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tracelake.consumers.launches.checkpoints import (
    WEIGHTS,
    checkpoint_folder,
    last_checkpoint,
    make_durable,
    weights_digest,
)
from tracelake.lake import Lake
from tracelake.schemas.errors import TrainingError
from tracelake.schemas.events.training_events import CheckpointSaved

TRAINING = "t-A-1"


def written(folder: Path, train_step: int) -> Path:
    checkpoint = checkpoint_folder(folder, train_step)
    checkpoint.mkdir(parents=True)
    (checkpoint / WEIGHTS).write_bytes(b"weights %d" % train_step)
    make_durable(checkpoint)
    return checkpoint


def record(lake: Lake, checkpoint: Path, train_step: int, attempt_index: int = 0) -> None:
    event = CheckpointSaved(
        training_id=TRAINING,
        attempt_index=attempt_index,
        train_step=train_step,
        uri=f"runs/{checkpoint.name}",
        weights_digest=weights_digest(checkpoint),
    )
    with lake.writer(f"{TRAINING}-{attempt_index}") as writer:
        writer.append([event])


def test_without_a_checkpoint_there_is_nothing_to_resume_from(fresh_lake: Lake, tmp_path: Path) -> None:
    assert last_checkpoint(fresh_lake, TRAINING, tmp_path / "runs") is None


def test_an_unrecorded_checkpoint_is_skipped(fresh_lake: Lake, tmp_path: Path) -> None:
    first = written(tmp_path, 2)
    record(fresh_lake, first, 2)
    # A save that was cut off: its folder is there, and some of its files.
    written(tmp_path, 4)
    assert last_checkpoint(fresh_lake, TRAINING, tmp_path) == first
    assert last_checkpoint(fresh_lake, "another", tmp_path) is None


def test_a_changed_or_missing_checkpoint_is_skipped(fresh_lake: Lake, tmp_path: Path) -> None:
    first, second, third = (written(tmp_path, train_step) for train_step in (2, 4, 10))
    for checkpoint, train_step in ((first, 2), (second, 4), (third, 10)):
        record(fresh_lake, checkpoint, train_step)
    assert last_checkpoint(fresh_lake, TRAINING, tmp_path) == third
    (third / WEIGHTS).write_bytes(b"other weights")
    assert last_checkpoint(fresh_lake, TRAINING, tmp_path) == second
    (second / WEIGHTS).unlink()
    assert last_checkpoint(fresh_lake, TRAINING, tmp_path) == first
    with pytest.raises(TrainingError, match="no weights"):
        weights_digest(second)


def test_a_checkpoint_rewritten_by_a_later_attempt_counts(fresh_lake: Lake, tmp_path: Path) -> None:
    checkpoint = written(tmp_path, 2)
    record(fresh_lake, checkpoint, 2)
    (checkpoint / WEIGHTS).write_bytes(b"of another machine")
    record(fresh_lake, checkpoint, 2, attempt_index=1)
    assert last_checkpoint(fresh_lake, TRAINING, tmp_path) == checkpoint
