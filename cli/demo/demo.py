"""`tracelake demo`: the whole way of the data at the smallest scale, every part of it real.

Flow: warm-start a policy → collect its rollouts → ask three local teachers over HTTP → build → pin → train
A and B on paired seeds → evaluate → verdict.

**What is there is reused**: a second run finds policy, answers, pin, checkpoints and scores, and ends at
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

EXPERIMENT = EXPERIMENTS / "004-small-world.toml"
STUDENT = "warm-start"
COLLECT_RUN = "demo-collect"
TASK_SEED = 3
TASK_COUNT = 60
ROLLOUTS_PER_TASK = 2
REASONS_SQL = "SELECT rule, outcome, count(*) AS n FROM pair_outcomes GROUP BY rule, outcome ORDER BY n DESC"
TEACHERS = ("tiny-teacher-95", "tiny-teacher-80", "tiny-teacher-65")


class DemoOutcome(NamedTuple):
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


def run_demo(folder: Path, lake_address: str | None = None) -> DemoOutcome:
    """The lake lies in the folder unless it is given an address of its own."""
    from tracelake.assets.folds.verdict.text import render_text
    from tracelake.assets.verdicts.verdicts import experiment_verdict, write_verdict
    from tracelake.cli.experiments import open_experiment

    folder.mkdir(parents=True, exist_ok=True)
    runs = folder / "runs"
    address = lake_address or str(folder / "lake")
    lake = _open_or_create(address)
    _pin_pairs(lake, runs)
    opened = open_experiment(EXPERIMENT, lake, runs)
    _train_and_evaluate(opened)
    found = experiment_verdict(lake, opened.experiment.id)
    files = write_verdict(found, opened.folder)
    where = f"--lake {address}"
    return DemoOutcome(
        verdict_text=render_text(found),
        verdict=found.model_dump(mode="json"),
        chart=next(path for path in files if path.suffix == ".png"),
        pin=opened.lock.pin,
        pin_digest=opened.lock.pin_digest,
        lake=lake.uri,
        next_commands=(
            f'tracelake query {where} "{REASONS_SQL}"',
            f"tracelake verify {where} --deep",
            f"tracelake import {where} PATH/TO/YOUR/TRACES",
        ),
    )


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


def _open_or_create(address: str) -> Any:
    from tracelake.lake import Lake

    try:
        return Lake.open(address)
    except LakeMissingError:
        return Lake.create(address)


def _pin_pairs(lake: Any, runs: Path) -> None:
    """Policy, rollouts, answers, pairs and their pin, as far as they are missing."""
    from tracelake.assets.build import build
    from tracelake.assets.derivations import DERIVED_TABLES, BuildParameters
    from tracelake.cli.commands.lake import PINNED_BY_DEFAULT
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
        made = lake.pin(experiment.data.pin.partition("@")[0], PINNED_BY_DEFAULT)
        say(
            f"Pinned {made.reference}, digest {made.digest[:16]}…: "
            f"{made.tables['preference_pairs'].row_count} pairs"
        )


def _collect(lake: Any, experiment: Any, runs: Path) -> None:
    from tracelake.cli.worlds import policy_folder_of, world_of
    from tracelake.consumers.rollouts.collect import Collection, collect_rollouts
    from tracelake.consumers.tiny_policy.policy import TinyPolicy
    from tracelake.consumers.torch_process import settle_libraries

    settle_libraries()
    say("Warm-starting a small policy (about a minute, once)…")
    policy = TinyPolicy.load(policy_folder_of(lake, experiment, runs / "policies"))
    policy.model.eval()
    if "demo-collect" in _source_runs(lake):
        return
    world = world_of(lake, experiment)
    tasks = world.train_tasks(TASK_SEED, TASK_COUNT)
    collection = Collection(
        COLLECT_RUN, STUDENT, ROLLOUTS_PER_TASK, experiment.training.turn_limit, TASK_SEED
    )
    with progress("rollouts") as bar:
        task = bar.add_task("collect", total=len(tasks) * ROLLOUTS_PER_TASK, rate="–")
        collect_rollouts(lake, policy, world, tasks, collection, lambda count: advance(bar, task, count))


def _ask(lake: Any) -> None:
    from tracelake.producers.teachers.asking.questions import questions_of
    from tracelake.producers.teachers.local.server import TeacherServer
    from tracelake.producers.teachers.run.ask import Endpoint, ask_teachers

    lake.project()
    started = lake.scan("rollout_started").select("rollout_id", "source_run").collect()
    rollouts = [rollout_id for rollout_id, run in started.iter_rows() if run == COLLECT_RUN]
    asked = questions_of(lake, rollouts)
    with TeacherServer() as server, progress("answers") as bar:
        task = bar.add_task("ask teachers", total=len(asked) * len(TEACHERS), rate="–")
        endpoint = Endpoint(server.base_url, TEACHERS)
        ask_teachers(lake, endpoint, asked, lambda: advance(bar, task))


def _source_runs(lake: Any) -> set[str | None]:
    if "rollout_started" not in lake.project():
        return set()
    return set(lake.scan("rollout_started").select("source_run").collect()["source_run"])
