"""`tracelake import`: traces of other tools into the lake."""

from __future__ import annotations

from pathlib import Path
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
    from tracelake.producers.importers.report import ImportReport


def import_traces(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH…", help="Files, folders or globs, at any fsspec address.")
    ],
    source_format: Annotated[
        str, typer.Option("--from", help="auto, mini-swe-agent, swe-agent, verifiers or tau-bench.")
    ] = "auto",
    lake: LakeOption = LAKE_DEFAULT,
    output: FormatOption = Format.HUMAN,
) -> None:
    """Import traces of other tools; creates the lake if it does not exist."""
    from tracelake.producers.importers.format_registry import AUTO, FORMATS

    if source_format not in (AUTO, *FORMATS):
        raise typer.BadParameter(
            f"{source_format!r} is none of {', '.join((AUTO, *FORMATS))}", param_hint="--from"
        )
    report = _import(_open_or_create(lake, paths), paths, source_format)
    if output is Format.JSON:
        print_json(report.model_dump(mode="json"))
    else:
        _print_report(report)
    if _failed(report, paths):
        raise typer.Exit(EXIT_FAILED)


def _import(opened: Lake, paths: list[str], source_format: str) -> ImportReport:
    from tracelake.lake.arrow_without_pandas import load_arrow_without_pandas
    from tracelake.producers.importers.import_sources import import_sources

    # Before a second process is forked: otherwise both would load pandas.
    load_arrow_without_pandas()
    with progress("files", own_thread=False) as bar:
        task = bar.add_task("import", total=None, rate="–")
        return import_sources(
            opened,
            paths,
            format=source_format,
            on_progress=lambda seen: advance(bar, task, done=seen.done_count, total=seen.total_count),
        )


def _open_or_create(uri: str, paths: list[str]) -> Lake:
    from tracelake.lake import Lake
    from tracelake.producers.importers.find_files import find_files
    from tracelake.schemas.errors import LakeMissingError

    try:
        return Lake.open(uri)
    except LakeMissingError:
        # Raises if no path leads to a file: that must not leave an empty lake behind.
        find_files(paths)
        created = Lake.create(uri)
        say(f"Created a lake at {created.uri}.")
        return created


def _failed(report: ImportReport, paths: list[str]) -> bool:
    """Whether nothing was imported at all, or nothing from a file that was named; bad files found in a folder
    are only reported."""
    empty = {file.path for file in report.file_reports if file.refused and not file.rollouts}
    empty |= {refusal.path for refusal in report.refused if refusal.line is None}
    named = {*paths, *(str(Path(path).absolute()) for path in paths)}
    return not report.rollouts or bool(empty & named)


def _print_report(report: ImportReport) -> None:
    rows = [file.model_dump(mode="json") for file in report.file_reports]
    print_rows(rows, ["path", "format", "rollouts", "turns", "tool_results", "refused"], title="Read")
    lost = {(file.format, thing) for file in report.file_reports for thing in file.not_carried}
    for source_format, thing in sorted(lost, key=str):
        print_text(f"not carried by {source_format}: {thing}")
    notes = {note for file in report.file_reports for note in file.notes} | set(report.notes)
    for note in sorted(notes):
        print_text(f"note: {note}")
    for reason, count in sorted(report.skipped.items()):
        print_text(f"skipped {count} files: {reason}")
    for refusal in report.refused:
        print_text(f"refused {refusal.path}{f':{refusal.line}' if refusal.line else ''}: {refusal.reason}")
    read = f"{report.files} files, {report.rollouts} rollouts, {report.turns} turns"
    read += f", {report.tool_results} tool results"
    landed = f"{report.new_events} new events, {report.duplicate_events} known, {report.conflicts} conflicts"
    print_text(f"{read}, ${report.cost_usd:.6f}; {landed}, {len(report.refused)} refused")
    if report.rollouts:
        say("Next: tracelake build --student MODEL")


def register(app: typer.Typer) -> None:
    app.command("import")(import_traces)
