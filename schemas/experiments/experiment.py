"""Experiment files: the claim, the thresholds that would show it, and how it is run.

**Unknown keys are refused.** A typo in a threshold must not become a default.
**The file states the intent, the lock the facts** (`lock.py`). The resolved specification is registered as an
event before the first run.
**The hash of a specification leaves defaults out**, so a new key with a default does not change it.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from tracelake.schemas.canonical import hash_of
from tracelake.schemas.errors import BadInputError, ExperimentInvalidError, SourceMissingError
from tracelake.schemas.experiments.cost_experiment import CostExperiment
from tracelake.schemas.experiments.sections import IDENTIFIER, Hypothesis, Section
from tracelake.schemas.pin_reference import parse_reference


class Data(Section):
    pin: str
    """`name@N`; a name without a number is refused, because it would move."""
    pairs_level: Literal["L0", "L1"] = "L1"
    """Level of action equivalence of the pairs that are trained on."""


class Arm(Section):
    """One treatment. Arms differ in these keys only."""

    title: str
    """Name of the arm in the verdict and its chart."""
    sdpo_weight: float = Field(default=0.0, ge=0)
    """Weight of the hinted teacher's divergence (SDPO) in the loss; 0: none."""
    pair_weight: float = Field(default=0.0, ge=0)
    """Weight of the pair channel, a DPO loss over pinned pairs; 0: none."""
    pairs: Literal["as_voted", "orientation_shuffled"] = "as_voted"
    """`orientation_shuffled` is the control: the same pairs, each reversed by a coin flip."""


class Training(Section):
    train_steps: int = Field(ge=1)
    """Optimizer updates."""
    tasks_per_batch: int = Field(default=8, ge=1)
    """Tasks of one generation of rollouts."""
    group_size: int = Field(default=8, ge=2)
    """Rollouts of one task; their rewards are compared with each other."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """AdamW's, constant."""
    loss_type: Literal["grpo", "dapo", "dr_grpo", "bnpo"] = "dr_grpo"
    """TRL's name for the GRPO variant."""
    temperature: float = Field(default=1.0, gt=0)
    """Sampling temperature in training."""
    turn_limit: int = Field(default=6, ge=1)
    """Turns after which a rollout ends, in training and evaluation."""
    completion_token_limit: int = Field(default=512, ge=16)
    """Tokens of a rollout beyond its prompt."""
    gradient_accumulation: int = Field(default=1, ge=1)
    """Micro-batches of one optimizer update."""
    pairs_per_micro_batch: int = Field(default=4, ge=1)
    """Pinned pairs in each micro-batch where `pair_weight` is not 0."""
    pair_prompt_token_limit: int = Field(default=768, ge=1)
    """Prompt tokens of a pair, counted from the action backwards; older ones are cut."""
    dpo_beta: float = Field(default=0.1, gt=0)
    """Beta of the pair channel's DPO loss."""
    checkpoint_every: int = Field(default=0, ge=0)
    """Optimizer updates between checkpoints; 0: only at the end."""


class Evaluation(Section):
    task_count: int = Field(ge=1)
    """Held-out tasks; more than the world has is refused."""
    samples_per_task: int = Field(default=1, ge=1)
    """Rollouts of one held-out task."""
    task_seed: int = 0
    """Seed that draws the held-out tasks; the same for every checkpoint."""
    temperature: float = Field(default=0.0, ge=0)
    """Sampling temperature; 0: the likeliest token."""

    @property
    def attempt_count(self) -> int:
        """Rollouts for each checkpoint."""
        return self.task_count * self.samples_per_task


class VerdictRule(Section):
    metric: str = "pass"
    """Name of the compared score in `task_evaluated`."""
    minimum_effect: float = Field(gt=0)
    """Smallest difference B − A that would matter, in units of the metric."""
    alpha: float = Field(default=0.05, gt=0, lt=1)
    """The interval covers 1 − alpha."""
    required_power: float = Field(default=0.8, gt=0, lt=1)
    """Power that a verdict against the claim needs."""
    resample_count: int = Field(default=10_000, ge=100)
    """Resamples of the clustered bootstrap."""
    bootstrap_seed: int = Field(default=0, ge=0)
    """Seed of the resamples."""


class Experiment(Section):
    """Two arms over one pin, on paired seeds."""

    type: Literal["ab"]
    """Two arms, trained and compared."""
    id: str = Field(pattern=IDENTIFIER)
    """Names its runs, its registration and its verdict."""
    title: str
    """One line for the board."""
    scale: str
    """Scope of the verdict, such as `small world`; printed with it."""
    gate: str = "none"
    """Experiment that should succeed before this one runs; shown on the board."""
    world: str
    """Source of the tasks: `tiny-functions` or `recorded-states`."""
    policy: str = "warm-start"
    """Initial weights: `warm-start`, `tiny-random`, or a folder."""
    hypothesis: Hypothesis
    stop_rule: str
    """When the experiment ends, fixed before it begins."""
    seeds: tuple[int, ...] = Field(min_length=1)
    """Each is trained in both arms."""
    data: Data
    arms: dict[Literal["A", "B"], Arm]
    training: Training
    evaluation: Evaluation
    verdict: VerdictRule

    def arm(self, name: str) -> Arm:
        """Raises BadInputError for a name that is no arm's."""
        for known, arm in self.arms.items():
            if known == name:
                return arm
        raise BadInputError("no such arm", got=name, expected=", ".join(self.arms))


class PlannedExperiment(Section):
    """A planned row of the program: it is on the board and cannot be run yet."""

    type: Literal["planned"]
    """On the board, not runnable yet."""
    id: str = Field(pattern=IDENTIFIER)
    """Its name on the board."""
    title: str
    """One line for the board."""
    gate: str = "none"
    """Experiment that should succeed before this one runs; shown on the board."""
    hypothesis: Hypothesis
    thresholds: dict[str, Any]
    """Thresholds that would show the claim, by name."""
    blocked_by: str
    """The missing prerequisite."""


AnyExperiment = Experiment | CostExperiment | PlannedExperiment
RENAMED_KEYS = {"replay_weight": "pair_weight"}
SPEC_HASH_DOMAIN = "tracelake experiment 2"
"""Keeps these hashes apart from others; the number rises when the hash is computed in another way."""
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
        renamed = RENAMED_KEYS.get(str(first["loc"][-1])) if first["loc"] else None
        raise ExperimentInvalidError(
            f"{name} breaks the contract at {'.'.join(map(str, first['loc'])) or 'its top'}",
            got=repr(first.get("input")),
            expected=first["msg"] if renamed is None else f"the key's new name, `{renamed}`",
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
    """Hash over the values that differ from their defaults."""
    return hash_of([SPEC_HASH_DOMAIN, experiment.model_dump(mode="json", exclude_defaults=True)])


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
