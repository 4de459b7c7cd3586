"""Experiment files: what is claimed, what would show it, and how it is run.

**Unknown keys are refused.** A typo in a threshold must not become a default.
**The file says the intent; the lock says the fact** (`lock.py`). The resolved specification is
registered as an event before the first run, under its hash.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from tracelake.schemas.canonical import hash_of
from tracelake.schemas.errors import BadInputError, ExperimentInvalidError, SourceMissingError
from tracelake.schemas.experiments.cost_experiment import CostExperiment
from tracelake.schemas.experiments.experiment_parts import IDENTIFIER, Hypothesis, Part
from tracelake.schemas.pin_reference import parse_reference


class Data(Part):
    pin: str
    """`name@N`; a name without a number is refused, because it would move."""
    pairs_level: Literal["L0", "L1"] = "L1"
    """Level of action equivalence whose pairs are trained on."""


class Arm(Part):
    """One treatment. Arms share everything but what stands here."""

    title: str
    """What the arm is called in the verdict and its chart."""
    sdpo_weight: float = Field(default=0.0, ge=0)
    """Weight of the hinted teacher's divergence (SDPO) in the loss; 0: none."""
    replay_weight: float = Field(default=0.0, ge=0)
    """Weight of the preference loss over pinned pairs (replay-DPO); 0: none."""
    pairs: Literal["as_voted", "orientation_shuffled"] = "as_voted"
    """`orientation_shuffled` is the control: the same pairs, each turned by a coin."""


class Training(Part):
    train_steps: int = Field(ge=1)
    """Optimizer updates."""
    tasks_per_batch: int = Field(default=8, ge=1)
    """Tasks of one generation of rollouts."""
    group_size: int = Field(default=8, ge=2)
    """Rollouts of one task, whose rewards are compared."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """Of AdamW, constant."""
    loss_type: Literal["grpo", "dapo", "dr_grpo", "bnpo"] = "dr_grpo"
    """TRL's name of the GRPO variant."""
    temperature: float = Field(default=1.0, gt=0)
    """Of sampling while training."""
    turn_limit: int = Field(default=6, ge=1)
    """Turns after which a rollout ends, in training and evaluation."""
    completion_token_limit: int = Field(default=512, ge=16)
    """Tokens of a rollout beyond its prompt."""
    gradient_accumulation: int = Field(default=1, ge=1)
    """Micro-batches of one optimizer update."""
    pairs_per_micro_batch: int = Field(default=4, ge=1)
    """Pinned pairs that join a micro-batch where `replay_weight` is not 0."""
    pair_prompt_token_limit: int = Field(default=768, ge=1)
    """Prompt tokens of a pair that are kept, counted from the action backwards."""
    dpo_beta: float = Field(default=0.1, gt=0)
    """Beta of the preference loss."""
    checkpoint_every: int = Field(default=0, ge=0)
    """Optimizer updates between checkpoints; 0: only at the end."""


class Evaluation(Part):
    task_count: int = Field(ge=1)
    """Held-out tasks; more than the world has is refused."""
    samples_per_task: int = Field(default=1, ge=1)
    """Rollouts of one held-out task."""
    task_seed: int = 0
    """Draws the held-out tasks; the same for every checkpoint."""
    temperature: float = Field(default=0.0, ge=0)
    """Of sampling; 0: the likeliest token."""

    @property
    def attempt_count(self) -> int:
        """Of each checkpoint."""
        return self.task_count * self.samples_per_task


class VerdictRule(Part):
    metric: str = "pass"
    """The score that is compared, by its name in `task_evaluated`."""
    minimum_effect: float = Field(gt=0)
    """Smallest difference B − A that would matter, in units of the metric."""
    alpha: float = Field(default=0.05, gt=0, lt=1)
    """The interval holds 1 − alpha."""
    required_power: float = Field(default=0.8, gt=0, lt=1)
    """Power that a verdict against the claim has to have."""
    resample_count: int = Field(default=10_000, ge=100)
    """Resamples of the clustered bootstrap."""
    bootstrap_seed: int = 0
    """Draws the resamples."""


class Experiment(Part):
    """Two arms over one pin, on paired seeds."""

    type: Literal["ab"]
    """Two arms, trained and compared."""
    id: str = Field(pattern=IDENTIFIER)
    """Names its runs, its registration and its verdict."""
    title: str
    """One line for the board."""
    scale: str
    """What the verdict may speak for, such as `small world`; printed with it."""
    gate: str = "none"
    """What had to be shown before this may run."""
    world: str
    """Where tasks come from: `tiny-functions` or `recorded-states`."""
    policy: str = "warm-start"
    """Initial weights: `warm-start`, `tiny-random`, or a folder."""
    hypothesis: Hypothesis
    stop_rule: str
    """When it ends, said before it begins."""
    seeds: tuple[int, ...] = Field(min_length=1)
    """Each is trained in both arms."""
    data: Data
    arms: dict[Literal["A", "B"], Arm]
    training: Training
    evaluation: Evaluation
    verdict: VerdictRule


class PlannedExperiment(Part):
    """A row of the program whose machinery is not in place; it is on the board, and cannot be run."""

    type: Literal["planned"]
    """Registered, and not run yet."""
    id: str = Field(pattern=IDENTIFIER)
    """Its name on the board."""
    title: str
    """One line for the board."""
    gate: str = "none"
    """What had to be shown before this may run."""
    hypothesis: Hypothesis
    thresholds: dict[str, Any]
    """What would show the claim, by name."""
    blocked_by: str
    """What is missing."""


AnyExperiment = Experiment | CostExperiment | PlannedExperiment
_ADAPTER: TypeAdapter[AnyExperiment] = TypeAdapter(Annotated[AnyExperiment, Field(discriminator="type")])


def parse_experiment(text: str, *, name: str) -> AnyExperiment:
    """Raises ExperimentInvalidError naming the key."""
    try:
        fields = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ExperimentInvalidError(f"{name} is not TOML", got=str(error), expected="a TOML file") from error
    return parse_experiment_fields(fields, name=name)


def parse_experiment_fields(fields: dict[str, Any], *, name: str) -> AnyExperiment:
    """Raises ExperimentInvalidError naming the key."""
    try:
        experiment = _ADAPTER.validate_python(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ExperimentInvalidError(
            f"{name} breaks the contract at {'.'.join(map(str, first['loc'])) or 'its top'}",
            got=repr(first.get("input")),
            expected=first["msg"],
            cure="docs/experiments.md lists every key.",
        ) from error
    if isinstance(experiment, Experiment):
        _check(experiment, name)
    if isinstance(experiment, CostExperiment):
        _check_teachers(experiment, name)
    return experiment


def load_experiment(path: Path) -> AnyExperiment:
    """Raises SourceMissingError, ExperimentInvalidError."""
    if not path.is_file():
        raise SourceMissingError("no experiment file", got=str(path), expected="a TOML file")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ExperimentInvalidError(f"{path.name} is not TOML", got=str(error), expected="UTF-8") from error
    return parse_experiment(text, name=path.name)


def load_runnable(path: Path) -> Experiment | CostExperiment:
    """`load_experiment`, but raises ExperimentInvalidError for a plan too."""
    loaded = load_experiment(path)
    if isinstance(loaded, PlannedExperiment):
        raise ExperimentInvalidError(
            f"experiment {loaded.id} cannot be run yet",
            got=f"blocked by {loaded.blocked_by}",
            expected="an experiment that can be run",
        )
    return loaded


def spec_hash(experiment: AnyExperiment) -> str:
    return hash_of(experiment.model_dump(mode="json"))


def _check(experiment: Experiment, name: str) -> None:
    if set(experiment.arms) != {"A", "B"}:
        raise ExperimentInvalidError(
            f"{name} needs two arms", got=", ".join(experiment.arms), expected="A and B"
        )
    if len(set(experiment.seeds)) != len(experiment.seeds):
        raise ExperimentInvalidError(
            f"{name} repeats a seed", got=str(list(experiment.seeds)), expected="distinct seeds"
        )
    if not _names_one_pin(experiment.data.pin):
        raise ExperimentInvalidError(
            f"{name} names a moving pin",
            got=experiment.data.pin,
            expected="name@N",
            cure="Run `tracelake pins` and name the number.",
        )


def _check_teachers(experiment: CostExperiment, name: str) -> None:
    names = [each.teacher for each in experiment.teachers]
    if len(set(names)) != len(names):
        raise ExperimentInvalidError(
            f"{name} names a teacher twice", got=", ".join(names), expected="distinct teachers"
        )


def _names_one_pin(reference: str) -> bool:
    try:
        return parse_reference(reference)[1] is not None
    except BadInputError:
        return False
