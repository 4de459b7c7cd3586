"""An experiment opened for work: its file, lake, lock, world and launches."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tracelake.cli.injection import check_policy_name, load_policy, policy_folder_of, world_of
from tracelake.cli.registration import register_experiment
from tracelake.consumers.launches.launch import Launch
from tracelake.consumers.launches.locking import lock_of, write_lock
from tracelake.consumers.torch_process import configure_training_libraries
from tracelake.lake import Lake
from tracelake.schemas.errors import BadInputError, ExperimentInvalidError
from tracelake.schemas.experiments.experiment import Experiment, load_runnable
from tracelake.schemas.experiments.lock import Lock
from tracelake.schemas.world import World

POLICIES = "policies"


class OpenExperiment(NamedTuple):
    experiment: Experiment
    lake: Lake
    runs: Path
    """Folder of checkpoints, locks and charts of all experiments."""
    lock: Lock
    world: World

    @property
    def folder(self) -> Path:
        return self.runs / self.experiment.id

    def launches(self, arm: str | None = None, seed: int | None = None) -> list[Launch]:
        """Seed by seed, arm by arm. Raises BadInputError for an unknown arm or seed."""
        arms = sorted(self.experiment.arms) if arm is None else [arm]
        seeds = list(self.experiment.seeds) if seed is None else [seed]
        if not set(arms) <= set(self.experiment.arms) or not set(seeds) <= set(self.experiment.seeds):
            known = [*sorted(self.experiment.arms), *map(str, self.experiment.seeds)]
            raise BadInputError(
                "not of this experiment",
                got=f"arm {arm}, seed {seed}",
                expected=f"arms and seeds among {', '.join(known)}",
            )
        weights = policy_folder_of(self.lake, self.experiment, self.runs / POLICIES)
        return [
            Launch(self.experiment, arm, seed, self.lock, self.world, load_policy, weights, self.folder)
            for seed in seeds
            for arm in arms
        ]


def open_experiment(path: Path, lake: str | Lake, runs: Path, lock: Path | None = None) -> OpenExperiment:
    """Lock and register. The lock is written last: a refused experiment leaves nothing that blocks its
    correction.

    Raises ExperimentInvalidError, PinMissingError, PinChangedError, LockMismatchError.
    """
    configure_training_libraries()
    experiment = load_runnable(path)
    if not isinstance(experiment, Experiment):
        raise ExperimentInvalidError(
            f"experiment {experiment.id} has nothing to train",
            got=f'type = "{experiment.type}"',
            expected='type = "ab"',
            cure=f"Run `tracelake register {path}`.",
        )
    opened = Lake.open(lake) if isinstance(lake, str) else lake
    lock_path = lock or runs / experiment.id / "lock.json"
    checked = lock_of(opened, experiment, lock_path)
    world = world_of(opened, experiment)
    check_policy_name(experiment)
    register_experiment(opened, experiment)
    write_lock(checked, lock_path)
    return OpenExperiment(experiment, opened, runs, checked, world)
