"""`tracelake import`: traces of other tools into the lake."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from tracelake.cli.output import (
    EXIT_FAILED,
    LAKE_DEFAULT,
    Format,
    FormatOption,
    LakeOption,
    advance,
    print_json,
    print_rows,
    print_text,
    progress,
    say,
)

if TYPE_CHECKING:
    from tracelake.lake import Lake
    from tracelake.producers.importers.import_sources import Progress
    from tracelake.producers.importers.importer import ImportOptions
    from tracelake.producers.importers.report import ImportReport

EXIT_INTERRUPTED = 130
LISTED_MAX = 20
LOSSES_LISTED_MAX = 8
"""Of each format."""
KILOBYTE = 1000


def import_traces(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH…", help="Files, folders, archives or globs, at any fsspec address."),
    ],
    source_format: Annotated[
        str, typer.Option("--from", help="Name of a format; `auto` recognises it by the content.")
    ] = "auto",
    run: Annotated[
        str | None,
        typer.Option("--run", help="The rollouts belong to this run, and to no other of the same content."),
    ] = None,
    distinct: Annotated[
        bool,
        typer.Option("--distinct", help="Equal rollouts at different paths are different ones."),
    ] = False,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Read what links out of the given folder lead to.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and convert everything, and write nothing.")
    ] = False,
    columns: Annotated[
        str | None,
        typer.Option(
            help="With `--from chat-messages`: columns by their role, such as `messages=dialog,id=uid`."
        ),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="One line for each file, and every refusal.")
    ] = False,
    lake: LakeOption = LAKE_DEFAULT,
    output: FormatOption = Format.HUMAN,
) -> None:
    """Import traces of other tools; creates the lake if it does not exist."""
    from tracelake.producers.importers.format_registry import AUTO, formats
    from tracelake.producers.importers.importer import ImportOptions

    if source_format not in (AUTO, *formats()):
        raise typer.BadParameter(
            f"{source_format!r} is none of {', '.join((AUTO, *formats()))}", param_hint="--from"
        )
    options = ImportOptions(run, distinct, _column_map(columns, source_format))
    opened = _open_or_create(lake, paths, follow_links=follow_links, dry_run=dry_run)
    report = _import(opened, paths, source_format, options, follow_links=follow_links, dry_run=dry_run)
    if output is Format.JSON:
        print_json(report.model_dump(mode="json"))
    else:
        _print_report(report, verbose=verbose)
    if report.interrupted:
        say(
            f"Stopped with {report.rollouts} rollouts read and {report.files_left} files to go. "
            "Give the same command again to go on: what has landed is not added twice."
        )
        raise typer.Exit(EXIT_INTERRUPTED)
    if not report.rollouts or report.named_without_rollouts:
        raise typer.Exit(EXIT_FAILED)


def _column_map(text: str | None, source_format: str) -> tuple[tuple[str, str], ...]:
    """(role, column) pairs of `messages=dialog,id=uid`."""
    if text is None:
        return ()
    pairs = [pair.partition("=") for pair in text.split(",")]
    if source_format != "chat-messages" or not all(role and column for role, _, column in pairs):
        raise typer.BadParameter(
            f"{text!r} needs `--from chat-messages`, and is written ROLE=COLUMN,…", param_hint="--columns"
        )
    return tuple((role, column) for role, _, column in pairs)


def _import(
    opened: Lake,
    paths: list[str],
    source_format: str,
    options: ImportOptions,
    *,
    follow_links: bool,
    dry_run: bool,
) -> ImportReport:
    from tracelake.lake.arrow_without_pandas import load_arrow_without_pandas
    from tracelake.producers.importers.import_sources import import_sources

    # Before a second process is forked: otherwise both would load pandas.
    load_arrow_without_pandas()
    with progress("kB", own_thread=False) as bar, _stop_on_interrupt() as should_stop:
        task = bar.add_task("import", total=None, rate="–")

        def show(seen: Progress) -> None:
            advance(bar, task, done=seen.done_bytes // KILOBYTE, total=seen.total_bytes // KILOBYTE or None)

        return import_sources(
            opened,
            paths,
            format=source_format,
            options=options,
            follow_links=follow_links,
            dry_run=dry_run,
            on_progress=show,
            should_stop=should_stop,
        )


@contextmanager
def _stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C asks the import to stop, so that what was read lands; a second one ends it at once."""
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, before)


def _open_or_create(uri: str, paths: list[str], *, follow_links: bool, dry_run: bool) -> Lake:
    from tracelake.lake import Lake
    from tracelake.producers.importers.find_files import find_files
    from tracelake.schemas.errors import LakeMissingError

    try:
        return Lake.open(uri)
    except LakeMissingError:
        # Raises if no path leads to a file: that must not leave an empty lake behind.
        find_files(paths, follow_links=follow_links)
    if dry_run:
        # To compare with; nothing is written to it.
        return Lake.create(f"memory://dry-run-{uuid.uuid4().hex}")
    created = Lake.create(uri)
    say(f"Created a lake at {created.uri}.")
    return created


def _print_report(report: ImportReport, *, verbose: bool) -> None:
    _print_totals(report)
    listed_max = None if verbose else LISTED_MAX
    unread = [f"not read {each.path}: {each.reason}" for each in report.unread]
    refused = [
        f"refused {each.path}{f':{each.line}' if each.line else ''}: {each.reason}" for each in report.refused
    ]
    conflicts = [
        f"conflict in {', '.join(sorted(set(each.files)))}: {each.kind} {each.key} differs in "
        f"{', '.join(each.differing) or 'no field that is there'}. {each.cure or ''}".rstrip()
        for each in report.conflict_list
    ]
    for lines in (conflicts, refused, unread):
        _print_lines(lines, listed_max)
    _print_losses(report, verbose=verbose)
    if verbose:
        rows = [file.model_dump(mode="json") for file in report.file_reports]
        print_rows(rows, ["path", "format", "rollouts", "turns", "tool_results", "refused"], title="Read")
    if report.conflicts:
        say("Conflicts: `tracelake conflicts` lists and resolves them.")
    if report.rollouts and not (report.dry_run or report.interrupted):
        say("Next: tracelake build --student MODEL")


def _print_totals(report: ImportReport) -> None:
    by_outcome = report.rollouts_by_outcome
    read = f"{report.files} files, {report.rollouts} rollouts, {report.turns} turns"
    read += f", {report.tool_results} tool results"
    priced = f" for {report.priced_rollouts} of them" if report.priced_rollouts < report.rollouts else ""
    cost = ", cost unknown" if report.cost_usd is None else f", ${report.cost_usd:.6f}{priced}"
    print_text(f"{'dry run, nothing is written: ' if report.dry_run else ''}{read}{cost}")
    print_text(
        f"rollouts: {by_outcome.new} new, {by_outcome.known} already there, {by_outcome.extended} extended, "
        f"{by_outcome.shorter} shorter than what is there, {by_outcome.in_conflict} in conflict"
    )
    print_text(
        f"facts: {report.new_events} new events, {report.duplicate_events} known, "
        f"{report.conflicts} conflicts; {len(report.refused)} refused"
    )
    if report.weak_identities:
        print_text(
            f"{report.weak_identities} rollouts have a weak identity: nothing in them is unique, so their "
            "place in the file or the file's name decides. --distinct keeps those of different paths apart, "
            "--run NAME those of a run"
        )
    for reason, count in report.skipped.items():
        print_text(f"skipped {count} files: {reason}")


def _print_losses(report: ImportReport, *, verbose: bool) -> None:
    for source_format, losses in report.losses.items():
        for thing in losses.not_carried:
            print_text(f"not carried by {source_format}: {thing}")
        paths = {dropped.path for dropped in losses.dropped}
        # Keys inside a key that was left out are in the JSON report.
        outermost = [
            each for each in losses.dropped if not any(_is_inside(each.path, path) for path in paths)
        ]
        _print_lines(
            [
                f"left out by {source_format}: {each.path} ({each.count}): {each.reason}"
                for each in (losses.dropped if verbose else outermost)
            ],
            None if verbose else LOSSES_LISTED_MAX,
        )
        if losses.in_extra_json_count:
            paths = list(losses.in_extra_json)
            more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
            print_text(
                f"in extra_json of {source_format}: {losses.in_extra_json_count} keys, "
                f"{', '.join(paths[:5])}{more}"
            )
        for note, count in list(losses.notes.items())[:LISTED_MAX]:
            print_text(f"note: {note} ({count})")
    for note in report.notes:
        print_text(f"note: {note}")


def _is_inside(path: str, outer: str) -> bool:
    return path.startswith((f"{outer}.", f"{outer}["))


def _print_lines(lines: list[str], listed_max: int | None) -> None:
    for line in lines[:listed_max]:
        print_text(line)
    if listed_max is not None and len(lines) > listed_max:
        print_text(f"… and {len(lines) - listed_max} more: --verbose")


def register(app: typer.Typer) -> None:
    app.command("import")(import_traces)
