"""The command: runs scenarios, prints their counts, and writes them into a page."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from secrets import randbelow

import tests.faults.harness_environment  # noqa: F401 - before modules that start threads
from tests.faults import (
    delivery,
    hostile,
    io_errors,
    kills,
    model,
    power_cuts,
    replays,
    rot,
    s3_faults,
    zombies,
)
from tests.faults.children import import_dependencies
from tests.faults.report import Measured, write_report
from tests.faults.scenario import Context, Counts, FaultFoundError, NotPossibleError

SCENARIOS: dict[str, Callable[[Context], Counts]] = {
    "kills": kills.run,
    "powercuts": power_cuts.run,
    "io-errors": io_errors.run,
    "zombies": zombies.run,
    "s3": s3_faults.run,
    "delivery": delivery.run,
    "rot": rot.run,
    "model": model.run,
    "hostile": hostile.run,
    "replays": replays.run,
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", action="append", choices=list(SCENARIOS), metavar="NAME")
    parser.add_argument("--seed", type=int, help="repeats a run; drawn if omitted")
    parser.add_argument("--trial", help="run one trial of one scenario, as named by a failure")
    parser.add_argument("--small", action="store_true", help="a few minutes instead of the full counts")
    parser.add_argument("--report", type=Path, help="a page whose table of counts is updated")
    options = parser.parse_args(arguments)
    seed = randbelow(10**9) if options.seed is None else options.seed
    import_dependencies()
    measured: list[Measured] = []
    failed: list[str] = []
    for name in options.only or SCENARIOS:
        start = time.monotonic()
        counts = run_scenario(name, seed, full=not options.small, trial=options.trial)
        if counts is None:
            failed.append(name)
            continue
        seconds = time.monotonic() - start
        summary = f"{name}: {counts.count:,} {counts.unit}, {counts.check_count:,} checks ({counts.detail})"
        print(f"{summary}; seed {seed}, {seconds:.0f} s", flush=True)
        if counts.count:
            measured.append(Measured(name, counts, seed, seconds, full=not options.small))
    if options.report is not None:
        write_report(options.report, measured)
    if failed:
        print(f"FAILED: {', '.join(failed)}")
    return 1 if failed else 0


def run_scenario(name: str, seed: int, *, full: bool, trial: str | None = None) -> Counts | None:
    """Null if the scenario failed: prints the cause and a command to repeat it, and leaves its folder."""
    folder = Path(tempfile.mkdtemp(prefix=f"faults-{name}-"))
    repeat = f"python -m tests.faults --only {name} --seed {seed}{'' if full else ' --small'}"
    try:
        counts = SCENARIOS[name](Context(seed, full, folder, trial))
    except FaultFoundError as error:
        print(
            f"{name}: FAILED: {error}\n{name}: left {folder}\n{name}: repeat: {repeat} --trial {error.trial}"
        )
        return None
    except NotPossibleError as error:
        shutil.rmtree(folder, ignore_errors=True)
        if os.environ.get("CI") == "true":
            print(f"{name}: FAILED: CI must run it, and it is not possible here: {error}")
            return None
        return Counts(0, "", 0, f"NOT RUN: {error}")
    except Exception:  # noqa: BLE001 - printed, and the other scenarios still run
        print(f"{name}: FAILED: a child or the harness itself hung or died")
        print(f"{traceback.format_exc()}{name}: repeat: {repeat}", flush=True)
        return None
    shutil.rmtree(folder, ignore_errors=True)
    return counts


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
