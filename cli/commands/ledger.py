"""`tracelake ledger`: what became of every event that was given."""

from __future__ import annotations

import typer

from tracelake.cli.output import (
    EXIT_CHECK_FAILED,
    LAKE_DEFAULT,
    Format,
    FormatOption,
    LakeOption,
    print_json,
    print_rows,
    print_text,
)


def ledger(lake: LakeOption = LAKE_DEFAULT, output: FormatOption = Format.HUMAN) -> None:
    """Every event given to a writer as landed, duplicate, conflict, rejected or lost, per run and length."""
    from tracelake.lake import Lake
    from tracelake.schemas.pin import RunCounts

    found = Lake.open(lake).ledger()
    if output is Format.JSON:
        lines = [line.model_dump() for line in found.lines]
        print_json(found._asdict() | {"lines": lines, "ok": not found.problems})
    else:
        print_rows([line.model_dump() for line in found.lines], list(RunCounts.model_fields))
        state = f"{len(found.problems)} problems" if found.problems else "it closes"
        print_text(f"{found.closed_writers} writers closed, {found.cut_off_writers} open or cut off: {state}")
        for problem in found.problems:
            print_text(f"  {problem}")
    if found.problems:
        raise typer.Exit(EXIT_CHECK_FAILED)


def register(app: typer.Typer) -> None:
    app.command()(ledger)
