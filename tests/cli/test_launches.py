"""Goal: launches side by side give the same results as one after the other, and no process is left alone or
lost.

Method: a tiny random policy trains on recorded states, in real processes. Some of them, and once their
parent, are killed at work.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.traces import STUDENT, rollout
from tracelake.assets.build import build
from tracelake.assets.derivations import BuildParameters
from tracelake.cli.experiments import OpenExperiment, open_experiment
from tracelake.cli.launches import Workers, at_once_by_default, evaluate_all, train_all
from tracelake.consumers.launches.checkpoints import weights_digest
from tracelake.consumers.launches.launch import Launch
from tracelake.lake import Lake
from tracelake.schemas.errors import ExperimentInvalidError, PinMissingError, TrainingError

TRAIN_STEPS = 3
EXPERIMENT = f"""
type = "ab"
id = "side-by-side"
title = "t"
scale = "test"
world = "recorded-states"
policy = "tiny-random"
seeds = [1, 2]
stop_rule = "none"
hypothesis = {{ given = "g", when = "w", then = "t" }}
data = {{ pin = "pairs@1" }}
arms = {{ A = {{ title = "GRPO" }}, B = {{ title = "pairs", pair_weight = 0.5 }} }}
verdict = {{ minimum_effect = 0.1 }}
evaluation = {{ task_count = 2 }}
[training]
train_steps = {TRAIN_STEPS}
tasks_per_batch = 2
group_size = 2
turn_limit = 1
completion_token_limit = 16
checkpoint_every = 1
"""


def pin_of_pairs(lake: Lake) -> None:
    with lake.writer("traces") as writer:
        for index in range(12):
            for model, command in {STUDENT: "ls", "teacher-a": "cat x", "teacher-b": "cat x"}.items():
                writer.add(rollout(model, f"question {index}", command))
    build(lake, BuildParameters(student=STUDENT))
    lake.pin("pairs", ["preference_pairs", "training_rows"])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a lake, its pin of pairs, and the experiment."""
    pin_of_pairs(Lake.create(str(tmp_path / "lake")))
    (tmp_path / "experiment.toml").write_text(EXPERIMENT)
    return tmp_path


def with_train_steps(place: Path, count: int) -> None:
    """Enough of them that a launch is at work when it is killed."""
    path = place / "experiment.toml"
    path.write_text(path.read_text().replace(f"train_steps = {TRAIN_STEPS}", f"train_steps = {count}"))


def opened_in(place: Path, runs: str) -> OpenExperiment:
    return open_experiment(place / "experiment.toml", str(place / "lake"), place / runs)


def weights(launches: list[Launch], opened: OpenExperiment) -> dict[tuple[str, int], str]:
    """Digest by arm and seed."""
    with Workers(opened, 1) as workers:
        found = train_all(workers, launches)
    assert all(each.reused for each in found)
    named = zip(launches, found, strict=True)
    return {(launch.arm, launch.seed): weights_digest(each.folder) for launch, each in named}


def test_an_evaluation_with_more_tasks_than_the_world_has_is_refused_before_registration(place: Path) -> None:
    path = place / "experiment.toml"
    path.write_text(path.read_text().replace("task_count = 2", "task_count = 100"))
    with pytest.raises(ExperimentInvalidError, match=r"got \d tasks of recorded-states"):
        opened_in(place, "runs")
    lake = Lake.open(str(place / "lake"))
    lake.project()
    assert "experiment_registered" not in lake.tables()


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("task_count = 2", "task_count = 100"),
        ('world = "recorded-states"', 'world = "recorded-state"'),
        ('policy = "tiny-random"', 'policy = "tiny-rand"'),
    ],
)
def test_a_refused_experiment_leaves_nothing_that_blocks_its_correction(
    place: Path, right: str, wrong: str
) -> None:
    path = place / "experiment.toml"
    path.write_text(path.read_text().replace(right, wrong))
    with pytest.raises(ExperimentInvalidError):
        opened_in(place, "runs")
    assert Lake.open(str(place / "lake")).scan("experiment_registered", fresh=True).collect().height == 0
    path.write_text(path.read_text().replace(wrong, right))
    assert len(opened_in(place, "runs").launches()) == 4


def test_two_at_once_give_the_same_weights_as_one_after_the_other(place: Path) -> None:
    one, two = opened_in(place, "one"), opened_in(place, "two")
    ticks: dict[str, int] = {"train": 0, "evaluate": 0}

    def tick(what: str, count: int) -> None:
        ticks[what] += count

    with Workers(one, 1) as workers:
        train_all(workers, one.launches())
    with Workers(two, 2) as workers:
        trained = train_all(workers, two.launches(), lambda count: tick("train", count))
        evaluated = evaluate_all(workers, two.launches(), lambda count: tick("evaluate", count))
        assert len(multiprocessing.active_children()) == 2
    assert multiprocessing.active_children() == []
    assert [each.training_id.rsplit("-", 1)[0] for each in trained] == [
        "side-by-side-A-1",
        "side-by-side-B-1",
        "side-by-side-A-2",
        "side-by-side-B-2",
    ]
    assert weights(two.launches(), two) == weights(one.launches(), one)
    assert len(set(weights(two.launches(), two).values())) == 4
    assert ticks == {"train": 4 * TRAIN_STEPS, "evaluate": 4 * 2}
    # Both left their events in one lake, and the second evaluation finds them.
    with Workers(two, 2) as workers:
        again = evaluate_all(workers, two.launches(), lambda count: tick("evaluate", count))
        assert multiprocessing.active_children() == []
    assert [each._replace(reused=True) for each in evaluated] == again
    assert ticks["evaluate"] == 2 * 4 * 2
    assert two.lake.verify(deep=True).problems == ()


def test_errors_of_a_worker_process_arrive_unchanged(place: Path) -> None:
    opened = opened_in(place, "runs")
    launches = opened.launches()
    # A worker builds its world from the pin; the launches here already have theirs.
    (place / "lake" / "pins" / "pairs" / "000001.json").unlink()
    with pytest.raises(PinMissingError, match="pairs@1"), Workers(opened, 2) as workers:
        train_all(workers, launches)


def test_a_dead_worker_process_is_reported_and_its_launch_resumes_from_its_checkpoint(place: Path) -> None:
    with_train_steps(place, 12)
    opened = opened_in(place, "runs")
    launches = opened.launches("A")

    killed: list[int] = []

    def kill_one(count: int) -> None:
        if count and not killed:
            killed.append(multiprocessing.active_children()[0].pid or 0)
            os.kill(killed[0], signal.SIGKILL)

    with pytest.raises(TrainingError, match="--at-once"), Workers(opened, 2) as workers:
        train_all(workers, launches, kill_one)
    with Workers(opened, 2) as workers:
        trained = train_all(workers, launches)
    assert len(trained) == 2
    opened.lake.project()
    started = opened.lake.scan("training_started").collect()
    assert set(started["attempt_index"]) > {min(started["attempt_index"])}
    assert opened.lake.verify().problems == ()


def is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def begun(place: Path) -> tuple[subprocess.Popen[bytes], list[int]]:
    """A command that trains two at once, when both have a checkpoint, and its processes."""
    arguments = ["train", "experiment.toml", "--lake", "lake", "--runs", "runs", "--at-once", "2"]
    command = [sys.executable, "-m", "tracelake.cli.main", *arguments]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    # A group of its own: an interrupt of ours is not one of its terminal.
    parent = subprocess.Popen(
        command, cwd=place, env=environment, stderr=subprocess.DEVNULL, start_new_session=True
    )
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    deadline = time.monotonic() + 100
    while len(list((place / "runs").rglob("checkpoint-1"))) < 2:
        assert parent.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    pids = [int(pid) for pid in children.read_text().split()]
    assert len(pids) >= 2
    return parent, pids


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes by /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_process_outlives_its_parent(place: Path, how: signal.Signals) -> None:
    with_train_steps(place, 1000)
    parent, pids = begun(place)
    parent.send_signal(how)
    assert parent.wait() != 0
    deadline = time.monotonic() + 100
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    lake = Lake.open(str(place / "lake"))
    lake.project()
    assert lake.scan("training_started").collect().height == 2
    if how is signal.SIGINT:
        ended = lake.scan("training_ended").collect()
        assert ended["status"].to_list() == ["interrupted", "interrupted"]
    assert lake.verify().problems == ()


def test_a_lake_in_memory_is_trained_on_in_this_process(place: Path) -> None:
    lake = Lake.create("memory://side-by-side")
    pin_of_pairs(lake)
    opened = open_experiment(place / "experiment.toml", lake, place / "runs")
    with Workers(opened, 2) as workers:
        trained = train_all(workers, opened.launches("A"))
        assert multiprocessing.active_children() == []
    assert [each.reused for each in trained] == [False, False]


def test_by_default_every_core_has_a_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    threads, cores = torch.get_num_threads(), len(os.sched_getaffinity(0))
    try:
        assert at_once_by_default() == (1 if torch.cuda.is_available() else cores)
        monkeypatch.setenv("OMP_NUM_THREADS", str(2 * cores))
        torch.set_num_threads(2 * cores)
        assert at_once_by_default() == 1
    finally:
        torch.set_num_threads(threads)
