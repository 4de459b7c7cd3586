"""Events of training and evaluation on pinned data.

**Registered before it runs**: an experiment's whole specification and its trainer settings are one event.
**Consumption is a fact**: each optimizer update names the pairs and rollouts that it used, so a query can
list what a checkpoint was trained on.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from tracelake.schemas.events.event import Event, JsonText, Text


class ExperimentRegistered(Event):
    """An experiment was declared, with thresholds and stop rule."""

    KEY: ClassVar[tuple[str, ...]] = ("experiment_id", "spec_hash")

    kind: Literal["experiment_registered"] = "experiment_registered"
    experiment_id: str
    """The `id` of the experiment's file."""
    spec_hash: str
    """Hash of the file's values that differ from their defaults; a changed file is another registration."""
    spec_json: JsonText
    """The resolved file with all defaults, canonical."""
    title: str
    """The `title` of the experiment's file."""
    trainer_config_json: JsonText | None = None
    """Every resolved setting of the trainer and its losses, canonical; null where nothing is trained."""


class TrainingStarted(Event):
    """One arm was launched with one seed."""

    KEY: ClassVar[tuple[str, ...]] = ("training_id", "attempt_index")

    kind: Literal["training_started"] = "training_started"
    training_id: str
    """One arm with one seed of one registration."""
    attempt_index: int = 0
    """Restart number."""
    experiment_id: str
    spec_hash: str
    arm: str
    """Which treatment: `A` or `B`."""
    seed: int
    """Paired over the arms."""
    pin: str
    """`name@N`."""
    pin_digest: str
    """Digest of the pin when the launch opened it."""
    lock_json: JsonText
    """The lock file that the launch was checked against."""
    config_json: JsonText
    """The resolved trainer configuration."""
    base_policy_digest: str
    """Hash of the initial weights."""


class BatchConsumed(Event):
    """One optimizer update used these rows."""

    KEY: ClassVar[tuple[str, ...]] = ("training_id", "attempt_index", "train_step")

    kind: Literal["batch_consumed"] = "batch_consumed"
    training_id: str
    attempt_index: int = 0
    train_step: int
    """Optimizer updates done, this one included."""
    policy_version: int
    """Weights that the gradient was taken at."""
    rollout_ids_json: JsonText
    """Rollouts whose completions the update used, canonical JSON list."""
    pair_ids_json: JsonText
    """Preference pairs that the update used, canonical JSON list."""
    sdpo_weight: float
    """Weight of the SDPO channel in this update."""
    pair_weight: float
    """Weight of the pair channel in this update."""
    metrics_json: JsonText | None = None
    """Losses and other figures of the update."""


class CheckpointSaved(Event):
    """Weights were written."""

    KEY: ClassVar[tuple[str, ...]] = ("training_id", "attempt_index", "train_step")

    kind: Literal["checkpoint_saved"] = "checkpoint_saved"
    training_id: str
    attempt_index: int = 0
    train_step: int
    uri: str
    """Where the weights lie."""
    weights_digest: str
    """Hash of the weights as written."""


class TrainingEnded(Event):
    """A launch came to its end."""

    KEY: ClassVar[tuple[str, ...]] = ("training_id", "attempt_index")

    kind: Literal["training_ended"] = "training_ended"
    training_id: str
    attempt_index: int = 0
    status: Literal["completed", "failed", "interrupted"]
    """How it ended."""
    train_step: int
    """Optimizer updates done in all."""
    duration_ms: float
    """Wall clock of the launch."""
    metrics_json: JsonText | None = None
    """Figures of the whole launch."""
    error: Text | None = None
    """What stopped it, where something did."""


class TaskEvaluated(Event):
    """A policy's attempt at a task was scored."""

    KEY: ClassVar[tuple[str, ...]] = ("evaluation_id", "task_key", "sample_index", "metric")

    kind: Literal["task_evaluated"] = "task_evaluated"
    evaluation_id: str
    """One checkpoint on one task set."""
    experiment_id: str
    training_id: str | None = None
    arm: str
    seed: int
    train_step: int
    task_key: str
    cluster: str
    """Tasks that are alike, such as one repository: they are not independent evidence."""
    sample_index: int = 0
    metric: str = "pass"
    """Name of the score; `pass` is the one that verdicts are about unless their rule names another."""
    score: float | None
    """Null: it could not be graded; a verdict bounds it and does not impute it."""
    rollout_id: str | None = None
