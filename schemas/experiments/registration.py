"""The fact that an experiment was registered: its whole content, under its hash."""

from __future__ import annotations

from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.events.training_events import ExperimentRegistered
from tracelake.schemas.experiments.experiment import AnyExperiment, spec_hash


def registration_of(experiment: AnyExperiment) -> ExperimentRegistered:
    """To be appended before the first run. The same content gives the same fact."""
    return ExperimentRegistered(
        experiment_id=experiment.id,
        spec_hash=spec_hash(experiment),
        spec_json=canonical_text(experiment.model_dump(mode="json")),
        title=experiment.title,
    )
