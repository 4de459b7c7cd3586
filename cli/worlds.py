"""The worlds and initial policies that experiment files may name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from tracelake.lake import Lake
from tracelake.schemas.errors import ExperimentInvalidError
from tracelake.schemas.experiments.experiment import Experiment
from tracelake.schemas.message import content_text
from tracelake.schemas.world import World

if TYPE_CHECKING:
    from tracelake.consumers.tiny_policy.policy import TinyPolicy

TINY_RANDOM_SEED = 0


def world_of(lake: Lake, experiment: Experiment) -> World:
    """Raises ExperimentInvalidError for an unknown world, and for one with too few tasks to evaluate on."""
    world, asked = _named_world(lake, experiment), experiment.evaluation
    found = len(world.heldout_tasks(asked.task_seed, asked.task_count))
    if found < asked.task_count:
        # Said before hours of training: a verdict over fewer tasks has another power.
        raise ExperimentInvalidError(
            "the world has fewer held-out tasks than the evaluation asks for",
            got=f"{found} tasks of {world.name}",
            expected=f"evaluation.task_count = {asked.task_count}",
            cure="Lower evaluation.task_count, or pin more states.",
        )
    return world


def _named_world(lake: Lake, experiment: Experiment) -> World:
    if experiment.world == "tiny-functions":
        from tracelake.producers.worlds.tiny_functions.world import tiny_functions

        return tiny_functions()
    if experiment.world == "recorded-states":
        from tracelake.producers.worlds.recorded_states import recorded_world

        return recorded_world(lake.open_pin(experiment.data.pin).scan("training_rows").collect())
    raise ExperimentInvalidError(
        "no such world", got=experiment.world, expected="tiny-functions or recorded-states"
    )


def policy_folder_of(lake: Lake, experiment: Experiment, folder: Path) -> Path:
    """Where the experiment's initial weights lie; made below `folder` if they are not there yet."""
    if experiment.policy == "warm-start":
        from tracelake.cli.demo.warm_policy import warm_policy_folder

        return warm_policy_folder(folder)
    if experiment.policy == "tiny-random":
        opened = lake.open_pin(experiment.data.pin)
        made = folder / f"tiny-random-{opened.pin.digest[:16]}"
        if not (made / "model.safetensors").is_file():
            _tiny_random(opened.scan("training_rows").collect()["prompt_json"].to_list()).save(made)
        return made
    given = Path(experiment.policy)
    if not given.is_dir():
        raise ExperimentInvalidError(
            "no such policy", got=experiment.policy, expected="warm-start, tiny-random or a folder of weights"
        )
    return given


def _tiny_random(prompts: list[str]) -> TinyPolicy:
    """Its vocabulary is that of the recorded prompts, so that they fit its window."""
    from tracelake.consumers.tiny_policy.policy import ModelShape, new_policy

    texts = [content_text(message.get("content")) for prompt in prompts for message in orjson.loads(prompt)]
    return new_policy(texts, ModelShape(hidden=32, layers=2, heads=2, feed_forward=64), seed=TINY_RANDOM_SEED)
