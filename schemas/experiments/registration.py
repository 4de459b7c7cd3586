"""The registration of an experiment: its resolved specification and trainer settings, as one event.

**The hash is of the file, the event is of the resolved settings.** A key that is added later, with a default,
leaves the hash unchanged, and the first registration stands. A default that changed since is refused.
"""

from __future__ import annotations

from typing import Any

import orjson

from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.errors import LockMismatchError
from tracelake.schemas.events.training_events import ExperimentRegistered
from tracelake.schemas.experiments.experiment import AnyExperiment, spec_hash
from tracelake.schemas.experiments.lock import ABSENT, differing_keys


def registration_of(
    experiment: AnyExperiment, trainer_config: dict[str, Any] | None = None
) -> ExperimentRegistered:
    """To be appended before the first run. `trainer_config` is that of the lock; only arms that are trained
    have one.
    """
    return ExperimentRegistered(
        experiment_id=experiment.id,
        spec_hash=spec_hash(experiment),
        spec_json=canonical_text(experiment.model_dump(mode="json")),
        title=experiment.title,
        trainer_config_json=None if trainer_config is None else canonical_text(trainer_config),
    )


def compare_registrations(registered: ExperimentRegistered, now: ExperimentRegistered) -> None:
    """Raises LockMismatchError naming every registered key whose value is another one now."""
    differences = differing_keys(_settings(registered), _settings(now))
    changed = {key: pair for key, pair in differences.items() if pair[0] != ABSENT}
    if changed:
        raise LockMismatchError(
            f"experiment {now.experiment_id} was registered with another {', '.join(changed)}",
            got="; ".join(f"{key}: {before} → {value}" for key, (before, value) in changed.items()),
            expected="the registered values",
            cure="Run it with the code that registered it, or give the experiment another id.",
        )


def _settings(event: ExperimentRegistered) -> dict[str, Any]:
    settings: dict[str, Any] = {"spec": orjson.loads(event.spec_json)}
    if event.trainer_config_json is not None:
        settings["trainer_config"] = orjson.loads(event.trainer_config_json)
    return settings
