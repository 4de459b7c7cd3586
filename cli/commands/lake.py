"""Commands about the lake itself: init, doctor, verify, pin, pins, ledger."""

from __future__ import annotations

from typing import Annotated

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
    say,
)


def init(lake: LakeOption = LAKE_DEFAULT, output: FormatOption = Format.HUMAN) -> None:
    """Create an empty lake."""
    from tracelake.lake import Lake

    created = Lake.create(lake)
    if output is Format.JSON:
        print_json({"lake": created.uri})
    else:
        print_text(f"Created an empty lake at {created.uri}.")
        say("Next: tracelake import PATH…")


def doctor(lake: LakeOption = LAKE_DEFAULT, output: FormatOption = Format.HUMAN) -> None:
    """Look at the installation and the lake; every line says how to mend what is wrong."""
    from tracelake.cli.doctor import examine

    findings = examine(lake)
    if output is Format.JSON:
        print_json([finding._asdict() for finding in findings])
    else:
        print_rows([finding._asdict() for finding in findings], ["status", "what", "found", "cure"])
    if any(finding.status == "FAIL" for finding in findings):
        raise typer.Exit(EXIT_CHECK_FAILED)


def verify(
    lake: LakeOption = LAKE_DEFAULT,
    output: FormatOption = Format.HUMAN,
    deep: Annotated[bool, typer.Option("--deep", help="Re-hash every file, event and pinned table.")] = False,
) -> None:
    """Audit the lake: hashes, counts, gaps, orphans, pins."""
    from tracelake.lake import Lake
    from tracelake.lake.arrow_without_pandas import load_arrow_without_pandas

    load_arrow_without_pandas()
    audit = Lake.open(lake).verify(deep=deep)
    if output is Format.JSON:
        print_json(audit.model_dump() | {"ok": audit.ok})
    else:
        print_text(
            f"{audit.landed_files} landed files, {audit.landed_events} events, {audit.tables} tables, "
            f"{audit.pins} pins: {'no problems' if audit.ok else f'{len(audit.problems)} problems'}"
        )
        for problem in audit.problems:
            print_text(f"  {problem}")
    if not audit.ok:
        raise typer.Exit(EXIT_CHECK_FAILED)


def pin(
    name: Annotated[str, typer.Argument(help="Name of the pin; it gets the next free number.")],
    lake: LakeOption = LAKE_DEFAULT,
    output: FormatOption = Format.HUMAN,
    table: Annotated[
        list[str] | None,
        typer.Option("--table", help="A table to pin; may be repeated. Default: the pair tables."),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option("--allow", help="TABLE/EVENT/RULE of a finding that is no secret; may be repeated."),
    ] = None,
) -> None:
    """Name the exact contents of tables for ever; refused if they contain what looks like a secret."""
    from tracelake.assets.derivations import PINNED_BY_DEFAULT
    from tracelake.cli.retracted import retracted_text
    from tracelake.lake import Lake

    opened = Lake.open(lake)
    created = opened.pin(name, table or list(PINNED_BY_DEFAULT), allowed=allow or [])
    retracted = opened.retracted_in(created)
    if output is Format.JSON:
        print_json(created.model_dump() | {"retracted_rollouts": retracted})
    else:
        print_text(f"{created.reference}  {created.digest}")
        rows = [
            {"table": key, "rows": value.row_count, "digest": value.digest[:16]}
            for key, value in created.tables.items()
        ]
        print_rows(rows, ["table", "rows", "digest"])
        if retracted:
            cure = "; `tracelake build` derives tables without them"
            print_text(retracted_text(created.reference, len(retracted), cure))


def pins(
    lake: LakeOption = LAKE_DEFAULT,
    output: FormatOption = Format.HUMAN,
    check: Annotated[
        str | None, typer.Option("--check", help="Open this pin and recompute its digests.")
    ] = None,
) -> None:
    """List the pins, or check one; says how many rollouts of a pin have been retracted since."""
    from tracelake.cli.retracted import retracted_by_pin, retracted_text
    from tracelake.lake import Lake

    opened = Lake.open(lake)
    listed = opened.pins() if check is None else [opened.open_pin(check).pin]
    retracted = retracted_by_pin(opened)
    if output is Format.JSON:
        print_json(
            [pin.model_dump() | {"retracted_rollouts": retracted.get(pin.reference)} for pin in listed]
        )
    else:
        rows = [
            {
                "pin": pin.reference,
                "digest": pin.digest[:16],
                "tables": len(pin.tables),
                "rows": sum(table.row_count for table in pin.tables.values()),
            }
            for pin in listed
        ]
        print_rows(rows, ["pin", "digest", "tables", "rows"])
        for pin in listed:
            if rollouts := retracted.get(pin.reference):
                print_text(retracted_text(pin.reference, len(rollouts)))


def ledger(lake: LakeOption = LAKE_DEFAULT, output: FormatOption = Format.HUMAN) -> None:
    """Count every event given to a writer as landed, duplicate, conflict, rejected or lost."""
    from tracelake.lake import Lake
    from tracelake.schemas.pin import RunCounts

    found = Lake.open(lake).ledger()
    if output is Format.JSON:
        lines = [line.model_dump() for line in found.lines]
        print_json(found._asdict() | {"lines": lines, "ok": not found.problems})
    else:
        print_rows([line.model_dump() for line in found.lines], list(RunCounts.model_fields))
        state = f"{len(found.problems)} problems" if found.problems else "balanced"
        print_text(f"{found.closed_writers} writers closed, {found.cut_off_writers} open or cut off: {state}")
        for problem in found.problems:
            print_text(f"  {problem}")
    if found.problems:
        raise typer.Exit(EXIT_CHECK_FAILED)


def register(app: typer.Typer) -> None:
    for command in (init, doctor, verify, pin, pins, ledger):
        app.command()(command)
