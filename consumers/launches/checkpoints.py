"""Checkpoint folders, and the one that a training resumes from.

**A checkpoint counts once its event is in the lake**, which lands after its files are durable: a process that
dies while writing one leaves a folder that nothing resumes from.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import polars as pl
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from tracelake.lake import Lake
from tracelake.lake.stores.sync import sync_data, sync_folder
from tracelake.schemas.errors import TrainingError

WEIGHTS = "model.safetensors"


def checkpoint_folder(folder: Path, train_step: int) -> Path:
    """Where TRL writes the checkpoint of an update."""
    return folder / f"{PREFIX_CHECKPOINT_DIR}-{train_step}"


def weights_digest(folder: Path) -> str:
    """SHA-256 of the weights file. Raises TrainingError."""
    path = folder / WEIGHTS
    if not path.is_file():
        raise TrainingError("no weights in the policy's folder", got=str(folder), expected=WEIGHTS)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def last_checkpoint(lake: Lake, training_id: str, folder: Path) -> Path | None:
    """The newest recorded checkpoint whose folder still has the recorded weights."""
    recorded = lake.scan("checkpoint_saved", fresh=True).filter(pl.col("training_id") == training_id)
    rows = recorded.select("train_step", "weights_digest").sort("train_step", descending=True).collect()
    for train_step, digest in rows.iter_rows():
        checkpoint = checkpoint_folder(folder, train_step)
        if (checkpoint / WEIGHTS).is_file() and weights_digest(checkpoint) == digest:
            return checkpoint
    return None


def make_durable(folder: Path) -> None:
    """Sync the folder's files and their names."""
    for path in folder.iterdir():
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                sync_data(descriptor)
            finally:
                os.close(descriptor)
    sync_folder(folder)
    sync_folder(folder.parent)
