"""Replays that are killed until they are done, and replays against endpoints that fail: no money is lost.

Flow: a server that charges and counts by itself → replays of 300 calls, killed by SIGKILL at drawn times →
the lake read after each kill; then drawn schedules of faults under drawn budgets.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

from tests.faults.children import in_child, side_by_side
from tests.faults.scenario import Context, Counts, FaultFoundError
from tests.producers.teachers.fault_schedules import Scheduled, asked_under_faults
from tests.producers.teachers.killed_replays import KilledReplay, killed_until_done

REPLAYS_FULL, REPLAYS_SMALL = 10, 2
KILLS_EACH = 6
SCHEDULES_FULL, SCHEDULES_SMALL = 200, 10
PROCESSES = 2
WAIT_SECONDS = 300.0


class Tally(NamedTuple):
    """The results of a part of the trials."""

    killed: list[KilledReplay]
    scheduled: list[Scheduled]


def run(context: Context) -> Counts:
    replays = REPLAYS_FULL if context.full else REPLAYS_SMALL
    schedules = SCHEDULES_FULL if context.full else SCHEDULES_SMALL
    trials = [f"kill.{number}" for number in range(replays)]
    trials += [f"schedule.{number}" for number in range(schedules)]
    wanted = [trial for trial in trials if context.is_selected(trial)]
    tallies = side_by_side(_trials, [(context, wanted[part::PROCESSES]) for part in range(PROCESSES)])
    killed = [outcome for tally in tallies for outcome in tally.killed]
    scheduled = [each for tally in tallies for each in tally.scheduled]
    detail = (
        f"{len(killed)} replays of 300 calls in {sum(each.run_count for each in killed)} runs, "
        f"paid again though answered {sum(each.asked_again for each in killed)}, answers lost 0, "
        f"sent again because a kill cut them off {sum(each.resent_count for each in killed)}; "
        f"{len(scheduled)} schedules of faults, {sum(each.failure_count for each in scheduled):,} failures, "
        f"overshoot {sum(each.overshoot_microusd for each in scheduled)}"
    )
    answers = sum(each.answer_count for each in killed) + sum(each.answer_count for each in scheduled)
    return Counts(sum(each.kill_count for each in killed), "kills of replays", answers, detail)


def _trials(context: Context, trials: list[str]) -> Tally:
    tally = Tally([], [])
    for trial in trials:
        kind, _, _ = trial.partition(".")
        folder = context.trial_folder(trial)
        seed = context.random(trial).randrange(2**32)
        if kind == "kill":
            killed = in_child(_killed, folder, seed, wait_seconds=WAIT_SECONDS)
            problems, again = killed.problems, killed.asked_again
            if again:
                problems = [*problems, f"{again} requests were paid again though the lake had their answers"]
            tally.killed.append(killed)
        else:
            scheduled = in_child(asked_under_faults, folder, seed, wait_seconds=WAIT_SECONDS)
            problems = scheduled.problems
            tally.scheduled.append(scheduled)
        if problems:
            raise FaultFoundError(trial, problems)
        shutil.rmtree(folder)
    return tally


def _killed(folder: Path, seed: int) -> KilledReplay:
    return killed_until_done(folder, seed, kills=KILLS_EACH)
