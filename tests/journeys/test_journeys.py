"""Goal: each journey in ARCHITECTURE.md lists exactly the files of a real run, in the order of the run.

Method: a run of each journey is recorded. Its files are the stages and helpers that the page lists; stages
appear in the order of the page, and no stage is called by a later one or by a helper.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.journeys.recorder import Edge, Recording, recorded
from tests.producers.importers.samples import mini
from tests.traces import STUDENT, rollout
from tracelake import Lake
from tracelake.assets.build import build
from tracelake.assets.derivations import BuildParameters
from tracelake.cli.experiments import open_experiment
from tracelake.cli.main import main
from tracelake.consumers.launches.launch import train_arm
from tracelake.consumers.rollouts.collect import Collection, collect_rollouts
from tracelake.producers.worlds.tiny_functions.oracle import LEARNER_ERROR_RATES, OraclePolicy
from tracelake.producers.worlds.tiny_functions.world import tiny_functions

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "ARCHITECTURE.md"
EXPERIMENT = """
type = "ab"
id = "journey"
title = "t"
scale = "test"
world = "recorded-states"
policy = "tiny-random"
seeds = [1]
stop_rule = "none"
hypothesis = { given = "g", when = "w", then = "t" }
data = { pin = "pairs@1" }
arms = { A = { title = "GRPO" }, B = { title = "pairs", pair_weight = 0.5 } }
verdict = { minimum_effect = 0.1 }
evaluation = { task_count = 2 }
[training]
train_steps = 1
tasks_per_batch = 2
group_size = 2
turn_limit = 1
completion_token_limit = 16
checkpoint_every = 1
"""

TEACHERS = """
[[teachers]]
name = "tiny-95"
base_url = "BASE_URL"
model = "tiny-teacher-95"
sampling = { temperature = 0.0, max_tokens = 1024 }

[[teachers]]
name = "tiny-80"
base_url = "BASE_URL"
model = "tiny-teacher-80"
sampling = { temperature = 0.0, max_tokens = 1024 }
"""


NOTIFICATIONS = {
    # The first chunk of a stream is an event of the loop: it lands while the rest of the answer is awaited.
    Edge("producers/calling/call.py", "producers/teachers/run/teacher_run.py"),
    # Progress is shown while an import or a replay goes on.
    Edge("producers/importers/file_importer.py", "producers/importers/import_sources.py"),
    Edge("producers/importers/import_sources.py", "cli/commands/import_traces.py"),
    Edge("producers/teachers/run/replay_run.py", "cli/commands/replay.py"),
}
"""Calls back to an earlier stage that only report what has happened."""


class Journey(NamedTuple):
    """What the page says of one journey."""

    stages: list[str]
    helpers: tuple[str, ...]
    """Files and folders."""


def journey(title: str) -> Journey:
    text = PAGE.read_text(encoding="utf-8")
    section = re.search(rf"^### {re.escape(title)}\n(.*?)(?=^##)", text, re.DOTALL | re.MULTILINE)
    assert section, title
    stages = re.findall(r"^\d+\. `([\w/.]+)`", section[1], re.MULTILINE)
    helpers = re.search(r"^Helpers: (.*?)\n\n", section[1], re.DOTALL | re.MULTILINE)
    return Journey(stages, tuple(re.findall(r"`([\w/.]+)`", helpers[1])) if helpers else ())


def differences(expected: Journey, recording: Recording) -> list[str]:
    """Where the run is not as the page says; empty if it is."""
    stages, order = expected.stages, [file for file in recording.files if file in expected.stages]
    wrong = [f"not entered: {file}" for file in stages if file not in order]
    wrong += [
        f"not on the page: {file}"
        for file in recording.files
        if file not in stages and not file.startswith(expected.helpers)
    ]
    if order != [file for file in stages if file in order]:
        wrong.append(f"order of the run: {order}")
    places = {file: index for index, file in enumerate(stages)}
    for edge, example in recording.edges.items():
        place = places.get(edge.callee)
        if place is not None and places.get(edge.caller, len(places)) > place and edge not in NOTIFICATIONS:
            wrong.append(f"returned to: {edge.callee} from {edge.caller} ({example})")
    return wrong


def tracelake(*arguments: str) -> None:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    assert stop.value.code in (0, None)


@contextmanager
def teacher_server() -> Iterator[str]:
    """Base URL of local teachers in a process of their own, so that nothing of them is recorded."""
    command = [sys.executable, "-m", "tracelake.producers.local_teachers.server", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def lake_with_pairs(folder: Path) -> Lake:
    """A lake with a pin of pairs, and an experiment file on it."""
    lake = Lake.create(str(folder / "lake"))
    with lake.writer("traces") as writer:
        for index in range(12):
            for model, command in {STUDENT: "ls", "teacher-a": "cat x", "teacher-b": "cat x"}.items():
                writer.add(rollout(model, f"question {index}", command))
    build(lake, BuildParameters(student=STUDENT))
    lake.pin("pairs", ["preference_pairs", "training_rows"])
    (folder / "experiment.toml").write_text(EXPERIMENT, encoding="utf-8")
    return lake


def imported_file(folder: Path) -> Recording:
    trace = folder / "one.traj.json"
    trace.write_text(json.dumps(mini()), encoding="utf-8")
    with recorded() as recording:
        tracelake("import", str(trace), "--lake", str(folder / "lake"))
        assert Lake.open(str(folder / "lake")).scan("turn_completed", fresh=True).collect().height == 2
    return recording


def teachers_answer(folder: Path) -> Recording:
    lake = Lake.create(str(folder / "lake"))
    world = tiny_functions()
    student = OraclePolicy(LEARNER_ERROR_RATES)
    collect_rollouts(lake, student, world, world.train_tasks(3, 4), Collection("run", "expert", 1, 6, 3))
    teachers = folder / "teachers.toml"
    with teacher_server() as base_url:
        teachers.write_text(TEACHERS.replace("BASE_URL", base_url), encoding="utf-8")
        with recorded() as recording:
            tracelake("replay", "--teachers", str(teachers), "--lake", lake.uri)
            tracelake("build", "--student", "expert", "--lake", lake.uri)
    assert lake.scan("preference_pairs").collect().height
    return recording


def pin_to_batch(folder: Path) -> Recording:
    opened = open_experiment(folder / "experiment.toml", lake_with_pairs(folder), folder / "runs")
    [launch] = opened.launches("B", 1)
    with recorded() as recording:
        train_arm(opened.lake, launch)
    batches = opened.lake.scan("batch_consumed", fresh=True).collect()
    assert json.loads(batches["pair_ids_json"][0])
    return recording


def experiment_to_verdict(folder: Path) -> Recording:
    lake = lake_with_pairs(folder)
    file, where = str(folder / "experiment.toml"), ("--lake", lake.uri, "--runs", str(folder / "runs"))
    with recorded() as recording:
        tracelake("train", file, "--at-once", "1", *where)
        tracelake("evaluate", file, "--at-once", "1", *where)
        tracelake("verdict", "journey", *where)
    return recording


JOURNEYS: dict[str, Callable[[Path], Recording]] = {
    "An imported file to a table row": imported_file,
    "A teacher's answer to a pair": teachers_answer,
    "A pin to a training batch": pin_to_batch,
    "An experiment file to a verdict": experiment_to_verdict,
}


@pytest.mark.parametrize("title", JOURNEYS)
def test_the_page_lists_the_files_of_a_real_run(title: str, tmp_path: Path) -> None:
    assert "\n".join(differences(journey(title), JOURNEYS[title](tmp_path))) == ""


def test_a_difference_is_found() -> None:
    page = Journey(["a.py", "b.py", "d.py"], ("h/",))
    recording = Recording()
    recording.files = ["b.py", "a.py", "c.py", "h/x.py"]
    recording.edges = {Edge("b.py", "a.py"): "f → g", Edge("h/x.py", "b.py"): "x → y"}
    assert differences(page, recording) == [
        "not entered: d.py",
        "not on the page: c.py",
        "order of the run: ['b.py', 'a.py']",
        "returned to: a.py from b.py (f → g)",
        "returned to: b.py from h/x.py (x → y)",
    ]
