"""Can the small world be learned on a CPU? Warm start, then plain GRPO; held-out pass@1 before and after.

Usage: python bench/world_learnability.py [--seeds 1] [--train-steps 40] [--threads 2] [--cache DIR] [--json]

Flow: blundering demonstrations → warm start → TRL's GRPOTrainer with our rollout loop → evaluation.
The bar: pass@1 rises by more than 5 points within 40 train_steps. Each seed draws its own training tasks,
rollouts and order; the held-out tasks, and the draws on them, are the same before and after.
Use `--threads 1` on a busy machine: two threads that wait for each other cost several times the work itself.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

import torch
from datasets import Dataset
from transformers import PrinterCallback
from transformers.utils.logging import disable_progress_bar
from trl import GRPOConfig, GRPOTrainer

from bench.report import Figure, report
from tracelake.cli.injection import demonstrations
from tracelake.consumers.rollouts.play import play_rollouts, records_to_trl
from tracelake.consumers.tiny_policy.policy import TinyPolicy
from tracelake.consumers.tiny_policy.warm_start import WarmStartSettings, warm_folder
from tracelake.producers.worlds.tiny_functions.environment import TOOLS, RepairEnvironment, opening_messages
from tracelake.producers.worlds.tiny_functions.sandbox import Sandbox
from tracelake.producers.worlds.tiny_functions.tasks import generate_tasks, task_of_prompt

PLAY_COUNT_MAX = 400
TURN_LIMIT = 6
GROUP_SIZE = 8
ROLLOUTS_PER_TRAIN_STEP = 32
LEARNING_RATE = 3e-4
HELD_OUT_COUNT = 400
HELD_OUT_SAMPLES = 2


class Learned(NamedTuple):
    """One seed's result."""

    seed: int
    before: float
    after: float
    train_duration_s: float
    rollout_duration_s: float


class Arena:
    """Environments shared by evaluation and training."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.environments = [RepairEnvironment(sandbox) for _ in range(PLAY_COUNT_MAX)]

    def pass_at_1(self, policy: TinyPolicy) -> float:
        tasks = generate_tasks(1, HELD_OUT_COUNT, "held_out")
        rewards = [
            record.rewards["reward"]
            for seed in range(HELD_OUT_SAMPLES)
            for record in play_rollouts(policy, self.environments, tasks, turn_limit=TURN_LIMIT, seed=seed)
        ]
        return sum(rewards) / len(rewards)

    def learn(self, folder: Path, seed: int, train_steps: int) -> Learned:
        policy = TinyPolicy.load(folder)
        before = self.pass_at_1(policy)
        batches = _Batches(self, policy, seed)
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as output:
            _trainer(policy, batches, seed, train_steps, output).train()
        train_duration_s = time.perf_counter() - started
        policy.model.eval()
        return Learned(seed, before, self.pass_at_1(policy), train_duration_s, batches.duration_s)


class _Batches:
    """TRL's `rollout_func`: plays the prompts' tasks with the policy in training."""

    def __init__(self, arena: Arena, policy: TinyPolicy, seed: int) -> None:
        self.arena, self.policy, self.seed = arena, policy, seed
        self.count = 0
        self.duration_s = 0.0

    def __call__(self, prompts: list[list[dict[str, Any]]], _trainer: GRPOTrainer) -> dict[str, Any]:
        started = time.perf_counter()
        tasks = [task for prompt in prompts if (task := task_of_prompt(prompt[-1]["content"])) is not None]
        records = play_rollouts(
            self.policy,
            self.arena.environments,
            tasks,
            turn_limit=TURN_LIMIT,
            seed=self.seed * 1_000_000 + self.count,
        )
        self.count += 1
        self.duration_s += time.perf_counter() - started
        return {**records_to_trl(records), "reward": [record.rewards["reward"] for record in records]}


def _tests_passed(completions: list[Any], reward: list[float], **_: Any) -> list[float]:
    return reward


def _trainer(policy: TinyPolicy, batches: _Batches, seed: int, train_steps: int, output: str) -> GRPOTrainer:
    tasks = generate_tasks(1000 + seed, train_steps * ROLLOUTS_PER_TRAIN_STEP // GROUP_SIZE, "train")
    settings = GRPOConfig(
        output_dir=output,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        per_device_train_batch_size=ROLLOUTS_PER_TRAIN_STEP,
        num_generations=GROUP_SIZE,
        max_steps=train_steps,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        max_completion_length=512,
        temperature=policy.temperature,
        seed=seed,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    trainer = GRPOTrainer(
        model=policy.model,
        reward_funcs=_tests_passed,
        args=settings,
        train_dataset=Dataset.from_list([{"prompt": opening_messages(task)} for task in tasks]),
        processing_class=policy.tokenizer,
        rollout_func=batches,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _print_table(learned: list[Learned], warm_duration_s: float, train_steps: int) -> None:
    print(f"demonstrations and warm start: {warm_duration_s:.1f} s (0 when found in the cache)")
    print(f"{'seed':>4} {'before':>8} {'after':>8} {'gain':>8} {'s/train_step':>13} {'s/rollouts':>11}")
    for row in learned:
        print(
            f"{row.seed:>4} {row.before:>8.1%} {row.after:>8.1%} {100 * (row.after - row.before):>+7.1f}p"
            f" {row.train_duration_s / train_steps:>13.2f} {row.rollout_duration_s / train_steps:>11.2f}"
        )


def _figures(learned: list[Learned], train_steps: int) -> list[Figure]:
    count = len(learned)
    before, after = (
        sum(values) / count for values in zip(*((r.before, r.after) for r in learned), strict=True)
    )
    per_train_step = sum(row.train_duration_s for row in learned) / count / train_steps
    bench = "world_learnability"
    return [
        Figure(bench, "held-out pass@1", "share", after, {"warm start": before}, before + 0.05, True),
        Figure(bench, "train_step of 32 rollouts", "s", per_train_step, {}, None, False),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--train-steps", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "tracelake-warm")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    warnings.filterwarnings("ignore", category=FutureWarning)
    disable_progress_bar()
    with Sandbox() as sandbox:
        arena = Arena(sandbox)
        started = time.perf_counter()
        folder = warm_folder(demonstrations(), TOOLS, WarmStartSettings(), options.cache)
        warm_duration_s = time.perf_counter() - started
        learned = [arena.learn(folder, seed, options.train_steps) for seed in range(options.seeds)]
    if not options.json:
        _print_table(learned, warm_duration_s, options.train_steps)
    report(_figures(learned, options.train_steps))


if __name__ == "__main__":
    main()
