"""The initial policy of the small world: warm-started once, from demonstrations that blunder."""

from __future__ import annotations

from pathlib import Path

from tracelake.schemas.canonical import hash_of
from tracelake.schemas.message import Message

DEMONSTRATION_COUNT = 4000
DEMONSTRATION_SEED = 0
PLAYED_AT_ONCE = 400
TURN_LIMIT = 6


def warm_policy_folder(folder: Path) -> Path:
    """Folder of weights and tokenizer; about a minute of training when it is not there yet."""
    from tracelake.consumers.tiny_policy.warm_start import WarmStartSettings, warm_folder
    from tracelake.consumers.torch_process import on_all_cores
    from tracelake.producers.worlds.tiny_functions.oracle import LEARNER_BLUNDERS
    from tracelake.producers.worlds.tiny_functions.workspace import TOOLS

    settings = WarmStartSettings()
    recipe = [DEMONSTRATION_COUNT, DEMONSTRATION_SEED, TURN_LIMIT, list(LEARNER_BLUNDERS), str(settings)]
    # Demonstrations take seconds to play: what they led to is noted under what they are made from.
    note = folder / f"warm-start-{hash_of(recipe)[:16]}.txt"
    if not note.is_file() or not (folder / note.read_text(encoding="utf-8")).is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with on_all_cores():
            made = warm_folder(demonstrations(), TOOLS, settings, folder)
        note.write_text(made.name, encoding="utf-8")
    return folder / note.read_text(encoding="utf-8")


def demonstrations() -> list[list[Message]]:
    """Conversations of an expert that blunders as often as leaves its learner something to learn."""
    from tracelake.consumers.rollouts.play import play_rollouts
    from tracelake.consumers.tiny_policy.warm_start import demonstration
    from tracelake.producers.worlds.tiny_functions.oracle import LEARNER_BLUNDERS, OraclePolicy
    from tracelake.producers.worlds.tiny_functions.world import tiny_functions

    world = tiny_functions()
    tasks = world.train_tasks(DEMONSTRATION_SEED, DEMONSTRATION_COUNT)
    environments = [world.new_environment() for _ in range(PLAYED_AT_ONCE)]
    expert = OraclePolicy(LEARNER_BLUNDERS)
    return [
        demonstration(record)
        for start in range(0, len(tasks), PLAYED_AT_ONCE)
        for record in play_rollouts(
            expert, environments, tasks[start : start + PLAYED_AT_ONCE], turn_limit=TURN_LIMIT, seed=start
        )
    ]
