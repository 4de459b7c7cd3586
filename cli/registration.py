"""Registering an experiment: its resolved specification lands as an event before its first run.

**The first registration stands.** Registering the same file again is a no-op, or refused if a registered
default has changed since.
"""

from __future__ import annotations

from tracelake.lake import Lake
from tracelake.schemas.events.training_events import ExperimentRegistered
from tracelake.schemas.experiments.cost_experiment import CostExperiment
from tracelake.schemas.experiments.experiment import Experiment
from tracelake.schemas.experiments.registration import compare_registrations, registration_of


def register_experiment(lake: Lake, experiment: Experiment | CostExperiment) -> ExperimentRegistered:
    """The registration that stands. Raises LockMismatchError, and MissingExtraError where arms are to be
    trained and the training libraries are not installed.
    """
    if isinstance(experiment, Experiment):
        from tracelake.consumers.launches.settings import trainer_config
        from tracelake.consumers.torch_process import configure_training_libraries

        configure_training_libraries()
        registration = registration_of(experiment, trainer_config(experiment))
    else:
        registration = registration_of(experiment)
    registered = _registered(lake, registration)
    if registered is not None:
        compare_registrations(registered, registration)
        return registered
    with lake.writer(f"register-{experiment.id}") as writer:
        writer.append([registration])
    return registration


def _registered(lake: Lake, registration: ExperimentRegistered) -> ExperimentRegistered | None:
    key = {name: getattr(registration, name) for name in ExperimentRegistered.KEY}
    rows = lake.scan(registration.kind, fresh=True).filter(**key).sort("recorded_at").collect()
    if not rows.height:
        return None
    row = rows.row(0, named=True)
    return ExperimentRegistered(
        **{name: row[name] for name in ExperimentRegistered.model_fields if name in row}
    )
