"""`tracelake import`: foreign traces into the lake."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.output import EXIT_FAILED, LAKE_DEFAULT, Format, FormatOption, LakeOption, print_json, print_rows, print_text, say


def import_traces(
    paths: Annotated[list[str], typer.Argument(metavar="PATH…", help="Files, folders or globs, at any fsspec address.")],
    source_format: Annotated[
        str, typer.Option("--from", help="auto, mini-swe-agent, swe-agent, verifiers or tau-bench.")
    ] = "auto",
    lake: LakeOption = LAKE_DEFAULT,
    output: FormatOption = Format.HUMAN,
) -> None:
    """Read traces of other tools; the lake is made if it is not there."""
    from lake import Lake
    from producers.importers.ingest import import_sources
    from schemas.errors import LakeMissingError

    try:
        opened = Lake.open(lake)
    except LakeMissingError:
        opened = Lake.create(lake)
        say(f"Made a lake at {opened.uri}.")
    report = import_sources(opened, paths, format=source_format)
    if output is Format.JSON:
        print_json(report.model_dump(mode="json"))
    else:
        _print_report(report)
    if not report.rollouts and not report.duplicate_events:
        raise typer.Exit(EXIT_FAILED)


def _print_report(report: object) -> None:
    from producers.importers.report import ImportReport

    assert isinstance(report, ImportReport)
    rows = [file.model_dump(mode="json") | {"refused": len(file.refused)} for file in report.by_file]
    print_rows(rows, ["path", "format", "rollouts", "turns", "tool_results", "refused"], title="Read")
    lost = {(file.format, thing) for file in report.by_file for thing in file.not_carried}
    for source_format, thing in sorted(lost, key=str):
        print_text(f"not carried by {source_format}: {thing}")
    for refusal in report.refused:
        print_text(f"refused {refusal.path}{f':{refusal.line}' if refusal.line else ''}: {refusal.reason}")
    print_text(
        f"{report.files} files, {report.rollouts} rollouts, {report.turns} turns, {report.tool_results} tool results, "
        f"${report.cost_usd:.6f}; {report.new_events} new events, {report.duplicate_events} known, "
        f"{report.conflicts} conflicts, {len(report.refused)} refused"
    )
    say("Next: tracelake build --student MODEL")


def register(app: typer.Typer) -> None:
    app.command("import")(import_traces)
