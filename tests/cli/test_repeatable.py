"""Goal: the place of a lake does not change its contents. The demo's steps from rollouts to a pin give the
same digests on a local disk, in memory and on S3.

Method: under a still clock, the same policy plays, the same teachers are asked over HTTP, and every table is
derived in each place.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tracelake.assets.build import build
from tracelake.assets.derivations import PINNED_BY_DEFAULT, BuildParameters
from tracelake.consumers.rollouts.collect import Collection, collect_rollouts
from tracelake.lake import Lake
from tracelake.producers.local_teachers.server import TeacherServer
from tracelake.producers.teachers.asking.questions import questions_of
from tracelake.producers.teachers.run.replay import ask_local_teachers
from tracelake.producers.worlds.tiny_functions.oracle import LEARNER_ERROR_RATES, OraclePolicy
from tracelake.producers.worlds.tiny_functions.world import tiny_functions
from tracelake.schemas.clock import CLOCK_VARIABLE, STILL

TEACHERS = ("tiny-teacher-95", "tiny-teacher-80", "tiny-teacher-65")


def digests_of_a_small_demo(address: str) -> dict[str, str]:
    """By table; with the pin's own."""
    lake = Lake.create(address)
    world = tiny_functions()
    collect_rollouts(
        lake,
        OraclePolicy(LEARNER_ERROR_RATES),
        world,
        world.train_tasks(3, 6),
        Collection("run", "expert", 2, 6, 3),
    )
    lake.project()
    rollouts = lake.scan("rollout_started").select("rollout_id").collect()["rollout_id"].to_list()
    with TeacherServer() as server:
        ask_local_teachers(lake, server.base_url, TEACHERS, questions_of(lake, rollouts))
    build(lake, BuildParameters(student="expert"))
    pin = lake.pin("pairs", PINNED_BY_DEFAULT)
    assert lake.verify(deep=True).ok
    assert pin.tables["preference_pairs"].row_count
    return {name: lake.state(name).digest for name in lake.tables()} | {"pin": pin.digest}


def test_the_same_work_has_the_same_digests_in_every_store(
    tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CLOCK_VARIABLE, STILL)
    local = digests_of_a_small_demo(str(tmp_path / "lake"))
    assert len(local) > 10
    assert digests_of_a_small_demo("memory://repeatable") == local
    assert digests_of_a_small_demo(f"s3://{bucket}/lake") == local
