"""The fact that an experiment was registered: its whole content, under its hash."""

from __future__ import annotations

from schemas.canonical import canonical_text
from schemas.experiment import AnyExperiment, spec_hash
from schemas.training_events import ExperimentRegistered


def registration_of(experiment: AnyExperiment) -> ExperimentRegistered:
    """To be appended before the first run. The same content gives the same fact."""
    return ExperimentRegistered(
        experiment_id=experiment.id,
        spec_hash=spec_hash(experiment),
        spec_json=canonical_text(experiment.model_dump(mode="json")),
        title=experiment.title,
    )
