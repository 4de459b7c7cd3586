"""`tracelake replay`: ask frozen teachers what they would have done at recorded states."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tracelake.cli.output import (
    EXIT_FAILED,
    LAKE_DEFAULT,
    Format,
    FormatOption,
    LakeOption,
    advance,
    print_json,
    print_text,
    progress,
    say,
)
from tracelake.cli.replay_text import plan_text, print_plan_rows, print_report_rows, report_text
from tracelake.schemas.errors import BudgetExhaustedError

if TYPE_CHECKING:
    from tracelake.lake import Lake
    from tracelake.producers.teachers.run.prepared import ReplayOptions
    from tracelake.producers.teachers.run.replay_report import Progress, ReplayReport
    from tracelake.producers.teachers.spec.teacher_file import TeacherFile

AUTO = "auto"

Teachers = Annotated[Path, typer.Option(help="The teacher file, TOML.")]
Traces = Annotated[str, typer.Option(help="`all`, or an SQL condition over rollouts.")]
Dollars = Annotated[
    str | None, typer.Option(help="Dollars for all runs of this replay; free teachers need none.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what it would cost; send nothing.")]
Concurrency = Annotated[str, typer.Option(help="Calls of a teacher at a time: auto, or a number.")]
Tiered = Annotated[
    bool, typer.Option("--tiered", help="Ask expensive tiers only where cheaper ones disagree.")
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Ask again where a teacher refused for good.")
]
Name = Annotated[
    str | None,
    typer.Option(
        help="Name of the replay, which owns the budget; by default derived from teachers and traces."
    ),
]
Arm = Annotated[str | None, typer.Option(help="The arm that pays for the answers.")]
Order = Annotated[
    Literal["prefer", "strict"],
    typer.Option(help="prefer: turns in order where that costs no time; strict: always in order."),
]
BreakLock = Annotated[
    bool, typer.Option("--break-lock", help="Remove the lock of a replay that died (remote lakes).")
]


def replay(
    teachers: Teachers,
    traces: Traces = "all",
    budget: Dollars = None,
    dry_run: DryRun = False,
    concurrency: Concurrency = AUTO,
    tiered: Tiered = False,
    retry_failed: RetryFailed = False,
    name: Name = None,
    arm: Arm = None,
    cache_order: Order = "prefer",
    break_lock: BreakLock = False,
    lake: LakeOption = LAKE_DEFAULT,
    output: FormatOption = Format.HUMAN,
) -> None:
    """Ask frozen teachers for their next action at every turn of recorded traces, within a budget."""
    from tracelake.lake import Lake
    from tracelake.producers.teachers.run.prepared import ReplayOptions, default_name
    from tracelake.producers.teachers.spec.teacher_file import read_teacher_file

    file, at_once = read_teacher_file(teachers), _at_once(concurrency)
    cap = _cap(budget, file, needed=not dry_run)
    replay_id = name or default_name(file.teachers, traces)
    options = ReplayOptions(
        replay_id, cap, at_once, cache_order, tiered, retry_failed, arm=arm, breaks_lock=break_lock
    )
    run = _plan if dry_run else _replay
    run(Lake.open(lake), file, traces, options, output)


def _plan(lake: Lake, file: TeacherFile, traces: str, options: ReplayOptions, output: Format) -> None:
    from tracelake.producers.teachers.run.replay import plan_replay

    plan = plan_replay(lake, traces, file.teachers, options)
    if output is Format.JSON:
        print_json(plan.model_dump(mode="json"))
        return
    print_plan_rows(plan)
    print_text(plan_text(plan))


def _replay(lake: Lake, file: TeacherFile, traces: str, options: ReplayOptions, output: Format) -> None:
    from tracelake.producers.teachers.asking.questions import select
    from tracelake.producers.teachers.run.replay import replay as run_replay

    questions = select(lake, traces)
    traces_count = len({question.rollout_id for question in questions})
    say(f"{len(questions)} states of {traces_count} traces, {len(file.teachers)} teachers…")
    with progress("answers") as bar:
        task = bar.add_task("replay", total=None, rate="–")

        def watch(now: Progress) -> None:
            left = "" if now.left_usd is None else f", est. ${now.left_usd:.2f} left"
            spent = f"replay  spent ${now.settled_usd:.2f} of ${now.budget_usd:.2f}{left}"
            bar.update(task, description=spent)
            advance(bar, task, done=now.done_count, total=now.total_count)

        report = run_replay(lake, questions, file.teachers, options, watch)
    if output is Format.JSON:
        print_json(report.model_dump(mode="json"))
    else:
        print_report_rows(report)
        print_text(report_text(report))
    _end(report)


def _end(report: ReplayReport) -> None:
    from tracelake.producers.teachers.run.run_control import StopReason

    if report.stopped in (StopReason.BUDGET, StopReason.OUT_OF_CREDIT, StopReason.PRICE_EXCEEDED):
        raise typer.Exit(BudgetExhaustedError.exit_code)
    if report.left_count:
        say("Some answers are missing. Run the same command again to ask for them.")
        raise typer.Exit(EXIT_FAILED)
    say("Next: tracelake build --student MODEL")


def _cap(budget: str | None, file: TeacherFile, *, needed: bool) -> int:
    from tracelake.producers.teachers.pricing.budget import cap_microusd

    if budget is not None:
        return cap_microusd(budget)
    if needed and any(teacher.price != "free" for teacher in file.teachers):
        raise typer.BadParameter("teachers that are not free need one", param_hint="--budget")
    return 0


def _at_once(concurrency: str) -> int | None:
    if concurrency == AUTO:
        return None
    if not concurrency.isdecimal() or not 0 < int(concurrency) <= 1000:
        raise typer.BadParameter(f"{concurrency!r} is neither auto nor 1 to 1000", param_hint="--concurrency")
    return int(concurrency)


def register(app: typer.Typer) -> None:
    app.command()(replay)
