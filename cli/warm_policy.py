"""The initial policy of the small world: warm-started once, from demonstrations that blunder."""

from __future__ import annotations

from pathlib import Path

DONE = "tracelake.warm"
DEMONSTRATION_COUNT = 1200
DEMONSTRATION_SEED = 11
TURN_LIMIT = 6


def warm_policy_folder(folder: Path) -> Path:
    """Folder of weights and tokenizer; about a minute of training when it is not there yet."""
    pointer = folder / DONE
    if pointer.is_file() and (folder / pointer.read_text(encoding="utf-8")).is_dir():
        return folder / pointer.read_text(encoding="utf-8")
    made = _train(folder)
    pointer.write_text(made.name, encoding="utf-8")
    return made


def _train(folder: Path) -> Path:
    from consumers.rollout import play_rollouts
    from consumers.warm_start import WarmStartSettings, demonstration, warm_policy
    from producers.world.oracle import Blunders, OraclePolicy
    from producers.world.tiny_functions import tiny_functions

    folder.mkdir(parents=True, exist_ok=True)
    world = tiny_functions()
    tasks = world.train_tasks(DEMONSTRATION_SEED, DEMONSTRATION_COUNT)
    environments = [world.new_environment() for _ in tasks]
    records = play_rollouts(
        OraclePolicy(Blunders()), environments, tasks, turn_limit=TURN_LIMIT, seed=DEMONSTRATION_SEED
    )
    before = set(folder.iterdir())
    warm_policy(
        [demonstration(record) for record in records], environments[0].tools, WarmStartSettings(), folder
    )
    return next(path for path in folder.iterdir() if path not in before and path.is_dir())
