"""The injection point: names in experiment files become worlds and initial policies.

`consumers` sees only `World` and `TrainablePolicy`; `producers` knows nothing of training. This module is the
one place that puts a concrete world and a concrete policy together.
"""

from __future__ import annotations

from pathlib import Path

import orjson

from tracelake.consumers.policy import TrainablePolicy
from tracelake.consumers.rollouts.play import play_rollouts
from tracelake.consumers.tiny_policy.policy import ModelShape, TinyPolicy, new_policy
from tracelake.consumers.tiny_policy.warm_start import WarmStartSettings, demonstration, warm_folder
from tracelake.consumers.torch_process import on_all_cores
from tracelake.lake import Lake
from tracelake.producers.worlds.recorded_states import recorded_world
from tracelake.producers.worlds.tiny_functions.environment import TOOLS
from tracelake.producers.worlds.tiny_functions.oracle import LEARNER_ERROR_RATES, OraclePolicy
from tracelake.producers.worlds.tiny_functions.world import tiny_functions
from tracelake.schemas.canonical import hash_of
from tracelake.schemas.errors import ExperimentInvalidError
from tracelake.schemas.experiments.experiment import Experiment
from tracelake.schemas.message import Message, content_text
from tracelake.schemas.world import World

WARM_START, TINY_RANDOM = POLICY_NAMES = ("warm-start", "tiny-random")
TINY_RANDOM_SEED = 0
DEMONSTRATION_COUNT = 4000
DEMONSTRATION_SEED = 0
DEMONSTRATION_TURN_LIMIT = 6
DEMONSTRATION_BATCH_SIZE = 400


def world_of(lake: Lake, experiment: Experiment) -> World:
    """Raises ExperimentInvalidError for an unknown world, and for one with too few tasks to evaluate on."""
    if experiment.world == "tiny-functions":
        world = tiny_functions()
    elif experiment.world == "recorded-states":
        world = recorded_world(lake.open_pin(experiment.data.pin).scan("training_rows").collect())
    else:
        raise ExperimentInvalidError(
            "no such world", got=experiment.world, expected="tiny-functions or recorded-states"
        )
    evaluation = experiment.evaluation
    task_count = len(world.heldout_tasks(evaluation.task_seed, evaluation.task_count))
    if task_count < evaluation.task_count:
        # Refused before hours of training: a verdict over fewer tasks has another power.
        raise ExperimentInvalidError(
            "the world has fewer held-out tasks than the evaluation asks for",
            got=f"{task_count} tasks of {world.name}",
            expected=f"evaluation.task_count = {evaluation.task_count}",
            cure="Lower evaluation.task_count, or pin more states.",
        )
    return world


def load_policy(folder: Path, *, temperature: float) -> TrainablePolicy:
    """The `PolicyLoader` of every experiment."""
    return TinyPolicy.load(folder, temperature=temperature)


def check_policy_name(experiment: Experiment) -> None:
    """Raises ExperimentInvalidError for a policy that is neither a known name nor a folder."""
    if experiment.policy not in POLICY_NAMES and not Path(experiment.policy).is_dir():
        raise ExperimentInvalidError(
            "no such policy",
            got=experiment.policy,
            expected=f"{', '.join(POLICY_NAMES)} or a folder of weights",
        )


def policy_folder_of(lake: Lake, experiment: Experiment, folder: Path) -> Path:
    """Folder of the experiment's initial weights; created below `folder` if missing."""
    if experiment.policy == WARM_START:
        return _warm_started(folder)
    if experiment.policy == TINY_RANDOM:
        opened = lake.open_pin(experiment.data.pin)
        weights = folder / f"tiny-random-{opened.pin.digest[:16]}"
        if not (weights / "model.safetensors").is_file():
            _tiny_random(opened.scan("training_rows").collect()["prompt_json"].to_list()).save(weights)
        return weights
    check_policy_name(experiment)
    return Path(experiment.policy)


def _tiny_random(prompts: list[str]) -> TinyPolicy:
    """Its vocabulary comes from the recorded prompts, so that they fit its context window."""
    texts = [content_text(message.get("content")) for prompt in prompts for message in orjson.loads(prompt)]
    return new_policy(texts, ModelShape(hidden=32, layers=2, heads=2, feed_forward=64), seed=TINY_RANDOM_SEED)


def _warm_started(folder: Path) -> Path:
    """The small world's initial policy; trains for about a minute the first time."""
    settings = WarmStartSettings()
    recipe = [
        DEMONSTRATION_COUNT,
        DEMONSTRATION_SEED,
        DEMONSTRATION_TURN_LIMIT,
        list(LEARNER_ERROR_RATES),
        str(settings),
    ]
    # Playing demonstrations takes seconds: a note under the recipe's hash names the folder that they led to.
    note = folder / f"warm-start-{hash_of(recipe)[:16]}.txt"
    if not note.is_file() or not (folder / note.read_text(encoding="utf-8")).is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with on_all_cores():
            weights = warm_folder(demonstrations(), TOOLS, settings, folder)
        note.write_text(weights.name, encoding="utf-8")
    return folder / note.read_text(encoding="utf-8")


def demonstrations() -> list[list[Message]]:
    """Conversations of an expert that makes enough mistakes for a learner to improve on."""
    world = tiny_functions()
    tasks = world.train_tasks(DEMONSTRATION_SEED, DEMONSTRATION_COUNT)
    environments = [world.new_environment() for _ in range(DEMONSTRATION_BATCH_SIZE)]
    expert = OraclePolicy(LEARNER_ERROR_RATES)
    return [
        demonstration(record)
        for start in range(0, len(tasks), DEMONSTRATION_BATCH_SIZE)
        for record in play_rollouts(
            expert,
            environments,
            tasks[start : start + DEMONSTRATION_BATCH_SIZE],
            turn_limit=DEMONSTRATION_TURN_LIMIT,
            seed=start,
        )
    ]
