"""Goal: a launch lands every fact of its training, refuses a changed pin, and is found when finished."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from tests.traces import STUDENT, rollout
from tracelake.assets.build import build
from tracelake.assets.derivations import BuildParameters
from tracelake.assets.folds.traces.exposures import checkpoint_exposures
from tracelake.consumers.evaluate import Checkpoint, evaluate_checkpoint
from tracelake.consumers.launches.checkpoints import WEIGHTS
from tracelake.consumers.launches.launch import Launch, train_arm
from tracelake.consumers.launches.locking import lock_of, write_lock
from tracelake.consumers.launches.recorder import TIMED
from tracelake.consumers.tiny_policy.policy import ModelShape, TinyPolicy, new_policy
from tracelake.consumers.tiny_policy.warm_start import WarmStartSettings, warm_start
from tracelake.lake import Lake
from tracelake.producers.worlds.recorded_states import recorded_world
from tracelake.producers.worlds.tiny_functions.environment import TOOLS
from tracelake.producers.worlds.tiny_functions.world import tiny_functions
from tracelake.schemas.clock import CLOCK_VARIABLE, STILL
from tracelake.schemas.environment import PolicyAction
from tracelake.schemas.errors import LockMismatchError, PinChangedError
from tracelake.schemas.experiments.experiment import Experiment, parse_experiment
from tracelake.schemas.experiments.lock import Lock

TEXT = """
type = "ab"
id = "launch-test"
title = "t"
scale = "test"
world = "recorded-states"
seeds = [1]
stop_rule = "none"
hypothesis = { given = "g", when = "w", then = "t" }
data = { pin = "pairs@1" }
arms = { A = { title = "GRPO" }, B = { title = "pairs", pair_weight = 0.5 } }
training = { train_steps = 4, tasks_per_batch = 2, group_size = 2, turn_limit = 1, checkpoint_every = 2 }
evaluation = { task_count = 2 }
verdict = { minimum_effect = 0.1 }
"""


class Place:
    """A lake with a pin of pairs, an experiment on it, and a tiny policy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lake = Lake.create(str(folder / "lake"))
        with self.lake.writer("traces") as writer:
            for index in range(12):
                for model, command in {STUDENT: "ls", "teacher-a": "cat x", "teacher-b": "cat x"}.items():
                    writer.add(rollout(model, f"question {index}", command))
        build(self.lake, BuildParameters(student=STUDENT))
        self.lake.pin("pairs", ["preference_pairs", "training_rows"])
        experiment = parse_experiment(TEXT, name="test")
        assert isinstance(experiment, Experiment)
        self.experiment = experiment
        new_policy((), ModelShape(16, 1, 2, 32)).save(folder / "policy")

    def lock(self) -> Lock:
        path = self.folder / "lock.json"
        lock = lock_of(self.lake, self.experiment, path)
        write_lock(lock, path)
        return lock

    def launch(self, arm: str) -> Launch:
        rows = self.lake.open_pin("pairs@1").scan("training_rows").collect()
        return Launch(
            self.experiment,
            arm,
            1,
            self.lock(),
            recorded_world(rows),
            TinyPolicy.load,
            self.folder / "policy",
            self.folder / "runs",
        )

    def rows(self, kind: str) -> pl.DataFrame:
        self.lake.project()
        return self.lake.scan(kind).collect()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("launch"))


@pytest.fixture(scope="module")
def trained(place: Place) -> str:
    return train_arm(place.lake, place.launch("B")).training_id


def test_a_launch_lands_its_start_checkpoints_and_end(place: Place, trained: str) -> None:
    started = place.rows("training_started").filter(training_id=trained).row(0, named=True)
    assert started["pin"] == "pairs@1"
    assert orjson.loads(started["lock_json"])["pin_digest"] == started["pin_digest"]
    saved = place.rows("checkpoint_saved").filter(training_id=trained).sort("train_step", "uri")
    assert saved["train_step"].unique(maintain_order=True).to_list() == [2, 4]
    ended = place.rows("training_ended").filter(training_id=trained).row(0, named=True)
    assert (ended["status"], ended["train_step"]) == ("completed", 4)
    assert orjson.loads(ended["metrics_json"])


def test_under_a_still_clock_every_timed_metric_is_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CLOCK_VARIABLE, STILL)
    place = Place(tmp_path)
    train_arm(place.lake, place.launch("A"))
    [ended] = place.rows("training_ended").to_dicts()
    timed = [figures for figures in orjson.loads(ended["metrics_json"]) if TIMED & figures.keys()]
    assert len(timed) == 5
    assert {figures[name] for figures in timed for name in TIMED & figures.keys()} == {0}
    assert ended["duration_ms"] == 0


def test_each_update_names_the_rollouts_and_pairs_that_it_consumed(place: Place, trained: str) -> None:
    batches = place.rows("batch_consumed").filter(training_id=trained).sort("train_step")
    assert batches["train_step"].to_list() == [1, 2, 3, 4]
    assert batches["policy_version"].to_list() == [0, 1, 2, 3]
    known_rollouts = set(place.rows("rollout_started")["rollout_id"])
    known_pairs = set(place.lake.scan("preference_pairs", at="pairs@1").collect()["pair_id"])
    for row in batches.iter_rows(named=True):
        rollouts, pairs = orjson.loads(row["rollout_ids_json"]), orjson.loads(row["pair_ids_json"])
        assert len(set(rollouts)) == 4
        assert set(rollouts) <= known_rollouts
        assert len(pairs) == 4
        assert set(pairs) <= known_pairs


def test_the_lake_lists_the_pairs_that_a_checkpoint_was_trained_on(place: Place, trained: str) -> None:
    build(place.lake, BuildParameters(student=STUDENT))
    exposures = place.lake.scan("exposures").collect()
    early, late = (checkpoint_exposures(exposures, trained, step).filter(item_kind="pair") for step in (1, 4))
    assert 0 < early["update_count"].sum() < late["update_count"].sum()
    assert set(early["item_id"]) <= set(late["item_id"])


def test_rollouts_keep_their_ids_and_the_logprobs_of_the_sampler(place: Place, trained: str) -> None:
    turns = place.rows("turn_completed").filter(pl.col("model_requested") == trained)
    assert turns.height >= 16
    assert turns["completion_ids"].list.len().to_list() == turns["sampling_logprobs"].list.len().to_list()
    assert set(turns["logprob_source"]) == {"sampler"}


def test_a_finished_training_is_found_and_not_repeated(place: Place, trained: str) -> None:
    again = train_arm(place.lake, place.launch("B"))
    assert again.reused
    assert again.training_id == trained


def test_arms_differ_in_their_ids_and_a_plain_arm_consumes_no_pairs(place: Place, trained: str) -> None:
    plain = train_arm(place.lake, place.launch("A")).training_id
    assert plain != trained
    assert set(place.rows("batch_consumed").filter(training_id=plain)["pair_ids_json"]) == {"[]"}


def test_an_interrupted_training_resumes_from_its_checkpoint_and_ends_with_the_same_weights(
    place: Place, trained: str, tmp_path: Path
) -> None:
    other = Place(tmp_path)
    launch = other.launch("B")
    ticks = iter(range(10))

    def interrupt() -> None:
        if next(ticks) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_arm(other.lake, launch, interrupt)
    resumed = train_arm(other.lake, launch)
    attempts = other.rows("training_ended").sort("attempt_index")
    assert attempts["status"].to_list() == ["interrupted", "completed"]
    assert (resumed.folder / "model.safetensors").read_bytes() == (
        place.folder / "runs" / trained / "model.safetensors"
    ).read_bytes()


class OtherPolicy:
    """A `TrainablePolicy` of another class; it delegates to a tiny one."""

    def __init__(self, folder: Path, *, temperature: float) -> None:
        self._policy = TinyPolicy.load(folder, temperature=temperature)
        self.model, self.tokenizer = self._policy.model, self._policy.tokenizer

    def act(self, contexts: Any, tools: Any, *, seeds: Any, prefix_ids: Any = None) -> list[PolicyAction]:
        return self._policy.act(contexts, tools, seeds=seeds, prefix_ids=prefix_ids)

    def save(self, folder: Path) -> None:
        self._policy.save(folder)


def test_a_policy_of_another_class_is_trained_and_evaluated_alike(
    place: Place, trained: str, tmp_path: Path
) -> None:
    other = Place(tmp_path)
    launch = other.launch("B")._replace(load_policy=OtherPolicy)
    result = train_arm(other.lake, launch)
    weights = (place.folder / "runs" / trained / WEIGHTS).read_bytes()
    assert (result.folder / WEIGHTS).read_bytes() == weights
    checkpoint = Checkpoint(result.training_id, result.folder, "B", 1, 4)
    evaluated = evaluate_checkpoint(other.lake, other.experiment, checkpoint, launch.world, OtherPolicy)
    assert not evaluated.reused
    again = evaluate_checkpoint(other.lake, other.experiment, checkpoint, launch.world, TinyPolicy.load)
    assert again == evaluated._replace(reused=True)


def test_hints_of_failed_tool_calls_land_and_the_student_never_reads_them(tmp_path: Path) -> None:
    place = Place(tmp_path)
    text = TEXT.replace('"recorded-states"', '"tiny-functions"').replace("turn_limit = 1", "turn_limit = 3")
    hinted = parse_experiment(text.replace("pair_weight = 0.5", "sdpo_weight = 0.1"), name="test")
    assert isinstance(hinted, Experiment)
    place.experiment = hinted
    # A policy that calls tools wrongly: it was shown well-formed calls of a tool that is not there.
    demonstrations = [
        [
            {"role": "user", "content": task.prompt},
            {"role": "assistant", "tool_calls": [{"function": {"name": "fix", "arguments": "{}"}}]},
        ]
        for task in tiny_functions().train_tasks(1, 64)
    ]
    settings = WarmStartSettings(update_count=60, shape=ModelShape(32, 1, 2, 64))
    warm_start(demonstrations, TOOLS, settings).save(tmp_path / "policy")
    launch = place.launch("B")._replace(world=tiny_functions())
    trained = train_arm(place.lake, launch).training_id
    hints = place.rows("hint_given")
    assert hints.height > 0
    assert set(hints["rollout_id"]) <= set(place.rows("rollout_started")["rollout_id"])
    assert place.rows("batch_consumed").filter(training_id=trained)["sdpo_weight"].unique().to_list() == [0.1]
    contexts = place.rows("turn_completed").filter(model_requested=trained)["new_messages_json"]
    assert not any(hint in context for hint in hints["hint"] for context in contexts)


def test_a_changed_pin_is_refused_at_launch(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.lock()
    table = tmp_path / "lake" / "tables" / "training_rows.lance"
    data = next((table / "data").glob("*.lance"))
    data.write_bytes(data.read_bytes()[::-1])
    with pytest.raises(PinChangedError):
        place.lock()


def test_an_experiment_that_changed_after_locking_is_refused(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.lock()
    changed = parse_experiment(TEXT.replace("minimum_effect = 0.1", "minimum_effect = 0.2"), name="test")
    assert isinstance(changed, Experiment)
    place.experiment = changed
    with pytest.raises(LockMismatchError, match="spec_hash"):
        place.lock()
