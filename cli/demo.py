"""`tracelake demo`: the whole pipeline at the smallest scale.

Flow: warm-start a policy → collect its rollouts → ask three local teachers over HTTP → build → pin → train
A and B on paired seeds → evaluate → verdict.

**Existing results are reused**: a second run finds policy, answers, pin, checkpoints and scores, and ends at
once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tracelake.cli.output import advance, progress, say
from tracelake.cli.shipped import EXPERIMENTS
from tracelake.schemas.errors import LakeMissingError, PinMissingError

if TYPE_CHECKING:
    from tracelake.cli.experiments import OpenExperiment
    from tracelake.lake import Lake
    from tracelake.schemas.experiments.experiment import Experiment

EXPERIMENT = EXPERIMENTS / "004-small-world.toml"
STUDENT = "warm-start"
COLLECT_RUN = "demo-collect"
TASK_SEED = 3
TASK_COUNT = 60
ROLLOUTS_PER_TASK = 2
REASONS_SQL = "SELECT rule, outcome, count(*) AS n FROM pair_outcomes GROUP BY rule, outcome ORDER BY n DESC"
TEACHERS = ("tiny-teacher-95", "tiny-teacher-80", "tiny-teacher-65")


class DemoResult(NamedTuple):
    verdict_text: str
    verdict: dict[str, Any]
    chart: Path
    pin: str
    pin_digest: str
    lake: str
    next_commands: tuple[str, ...]

    def summary(self) -> dict[str, Any]:
        return self._asdict() | {"chart": str(self.chart)}

    def text(self) -> str:
        tries = "\n".join(f"  {command}" for command in self.next_commands)
        pin = f"{self.pin}  {self.pin_digest}"
        return f"{self.verdict_text}\n\nchart  {self.chart}\npin    {pin}\n\nTry next:\n{tries}"


def run_demo(folder: Path, lake_address: str | None = None) -> DemoResult:
    """The lake lies in the folder unless an address is given."""
    from tracelake.assets.verdicts.derive_verdict import derive_verdict, write_verdict
    from tracelake.cli.experiments import open_experiment
    from tracelake.cli.verdict_text import verdict_text

    folder.mkdir(parents=True, exist_ok=True)
    runs = folder / "runs"
    address = lake_address or str(folder / "lake")
    lake = _open_or_create(address)
    _pin_pairs(lake, runs)
    opened = open_experiment(EXPERIMENT, lake, runs)
    _train_and_evaluate(opened)
    found = derive_verdict(lake, opened.experiment.id)
    files = write_verdict(found, opened.folder)
    lake_option = f"--lake {address}"
    return DemoResult(
        verdict_text=verdict_text(found),
        verdict=found.model_dump(mode="json"),
        chart=next(path for path in files if path.suffix == ".png"),
        pin=opened.lock.pin,
        pin_digest=opened.lock.pin_digest,
        lake=lake.uri,
        next_commands=(
            f'tracelake query {lake_option} "{REASONS_SQL}"',
            f"tracelake verify {lake_option} --deep",
            f"tracelake import {lake_option} PATH/TO/YOUR/TRACES",
        ),
    )


def _open_or_create(address: str) -> Lake:
    from tracelake.lake import Lake

    try:
        return Lake.open(address)
    except LakeMissingError:
        return Lake.create(address)


def _pin_pairs(lake: Lake, runs: Path) -> None:
    """Create policy, rollouts, answers, pairs and their pin, unless the pin exists."""
    from tracelake.assets.build import build
    from tracelake.assets.derivations import DERIVED_TABLES, PINNED_BY_DEFAULT, BuildParameters
    from tracelake.schemas.experiments.experiment import Experiment, load_experiment

    experiment = load_experiment(EXPERIMENT)
    assert isinstance(experiment, Experiment)
    try:
        lake.open_pin(experiment.data.pin)
    except PinMissingError:
        _collect(lake, experiment, runs)
        _ask(lake)
        with progress("tables") as bar:
            task = bar.add_task("build", total=len(DERIVED_TABLES), rate="–")
            build(lake, BuildParameters(student=STUDENT), on_table=lambda *_: advance(bar, task))
        pin = lake.pin(experiment.data.pin.partition("@")[0], PINNED_BY_DEFAULT)
        pair_count = pin.tables["preference_pairs"].row_count
        say(f"Pinned {pin.reference}, digest {pin.digest[:16]}…: {pair_count} pairs")


def _collect(lake: Lake, experiment: Experiment, runs: Path) -> None:
    from tracelake.cli.experiments import POLICIES
    from tracelake.cli.injection import load_policy, policy_folder_of, world_of
    from tracelake.consumers.rollouts.collect import Collection, collect_rollouts
    from tracelake.consumers.torch_process import configure_training_libraries

    configure_training_libraries()
    say("Warm-starting a small policy (about a minute, once)…")
    policy = load_policy(policy_folder_of(lake, experiment, runs / POLICIES), temperature=1.0)
    policy.model.eval()
    if COLLECT_RUN in _source_runs(lake):
        return
    world = world_of(lake, experiment)
    tasks = world.train_tasks(TASK_SEED, TASK_COUNT)
    collection = Collection(
        COLLECT_RUN, STUDENT, ROLLOUTS_PER_TASK, experiment.training.turn_limit, TASK_SEED
    )
    with progress("rollouts") as bar:
        task = bar.add_task("collect", total=len(tasks) * ROLLOUTS_PER_TASK, rate="–")
        collect_rollouts(lake, policy, world, tasks, collection, lambda count: advance(bar, task, count))


def _source_runs(lake: Lake) -> set[str | None]:
    return set(lake.scan("rollout_started", fresh=True).select("source_run").collect()["source_run"])


def _ask(lake: Lake) -> None:
    from tracelake.producers.local_teachers.server import TeacherServer
    from tracelake.producers.teachers.asking.questions import questions_of
    from tracelake.producers.teachers.run.replay import ask_local_teachers

    lake.project()
    started = lake.scan("rollout_started").select("rollout_id", "source_run").collect()
    rollouts = [rollout_id for rollout_id, run in started.iter_rows() if run == COLLECT_RUN]
    questions = questions_of(lake, rollouts)
    with TeacherServer() as server, progress("answers") as bar:
        task = bar.add_task("ask teachers", total=len(questions) * len(TEACHERS), rate="–")
        ask_local_teachers(lake, server.base_url, TEACHERS, questions, lambda: advance(bar, task))


def _train_and_evaluate(opened: OpenExperiment) -> None:
    from tracelake.cli.launches import Workers, at_once_by_default, evaluate_all, train_all

    launches, spec = opened.launches(), opened.experiment
    with Workers(opened, at_once_by_default()) as workers:
        with progress("updates") as bar:
            task = bar.add_task("train A and B", total=len(launches) * spec.training.train_steps, rate="–")
            train_all(workers, launches, lambda count: advance(bar, task, count))
        with progress("tasks") as bar:
            total = len(launches) * spec.evaluation.attempt_count
            task = bar.add_task("evaluate", total=total, rate="–")
            evaluate_all(workers, launches, lambda count: advance(bar, task, count))
