"""Commands that derive and read tables: build, query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tracelake.cli.output import (
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
    from tracelake.lake.curation.selection import Selection

ROWS_SHOWN_MAX = 50
LEFT_OUT_SHOWN_MAX = 5


def build(
    lake: LakeOption = LAKE_DEFAULT,
    output: FormatOption = Format.HUMAN,
    student: Annotated[
        str | None,
        typer.Option(envvar="TRACELAKE_STUDENT", help="Model whose actions are compared with the teachers'."),
    ] = None,
    min_teachers: Annotated[
        int, typer.Option(min=1, help="Fewest teachers at a state that may outvote.")
    ] = 2,
) -> None:
    """Derive every table from the events: turns, answers, disagreement, pairs… Says which rollouts are left
    out, and why."""
    from tracelake.assets.build import build as build_tables
    from tracelake.assets.derivations import DERIVED_TABLES, BuildParameters
    from tracelake.lake import Lake

    opened = Lake.open(lake)
    parameters = BuildParameters(student=student, min_teachers=min_teachers)
    selections: list[Selection] = []
    with progress("tables") as bar:
        task = bar.add_task("build", total=len(DERIVED_TABLES), rate="–")
        states = build_tables(
            opened,
            parameters,
            on_table=lambda *_: advance(bar, task),
            on_selection=selections.append,
        )
    [selection] = selections
    if student is None:
        say("Without a student there are no pairs: --student MODEL.")
    if output is Format.JSON:
        print_json(
            {
                "tables": {name: state.model_dump() for name, state in states.items()},
                "left_out": {
                    "counts": selection.counts(),
                    "rollouts": [each._asdict() for each in selection.left_out.values()],
                },
            }
        )
    else:
        rows = [
            {"table": name, "rows": state.row_count, "version": state.version, "digest": state.digest[:16]}
            for name, state in states.items()
        ]
        print_rows(rows, ["table", "rows", "version", "digest"])
        _print_left_out(selection)
        say("Next: tracelake pin NAME")


def _print_left_out(selection: Selection) -> None:
    if not selection.left_out:
        return
    from tracelake.lake.curation.conflicts import one_line

    texts = {
        "conflict": "with open conflicts (`tracelake conflicts` lists them)",
        "decision": "by the decision on a conflict",
        "retracted": "retracted",
    }
    parts = [f"{count} {texts[why]}" for why, count in selection.counts().items() if count]
    count = len(selection.left_out)
    print_text(f"Left out {count} rollout{'' if count == 1 else 's'}: {', '.join(parts)}")
    for each in list(selection.left_out.values())[:LEFT_OUT_SHOWN_MAX]:
        print_text(one_line(f"  {each.rollout_id}: {each.why}: {each.detail}"))
    if count > LEFT_OUT_SHOWN_MAX:
        print_text(f"  and {count - LEFT_OUT_SHOWN_MAX} more; --format json names all")


def query(
    sql: Annotated[
        str | None, typer.Argument(help="SQL over the tables; without it, the tables are listed.")
    ] = None,
    lake: LakeOption = LAKE_DEFAULT,
    output: FormatOption = Format.HUMAN,
    at: Annotated[
        str | None, typer.Option("--at", help="Read a pin NAME@N and not the newest versions.")
    ] = None,
) -> None:
    """Query the tables in SQL."""
    from tracelake.assets.query import list_tables, run_query
    from tracelake.lake import Lake

    opened = Lake.open(lake)
    if sql is None:
        rows: list[dict[str, Any]] = list_tables(opened, at)
        columns = ["table", "rows", "version", "columns"]
    else:
        frame = run_query(opened, sql, at)
        rows, columns = frame.to_dicts(), frame.columns
    if output is Format.JSON:
        print_json(rows)
        return
    print_rows(rows[:ROWS_SHOWN_MAX], columns)
    if len(rows) > ROWS_SHOWN_MAX:
        say(f"{len(rows)} rows, the first {ROWS_SHOWN_MAX} shown; --format json prints all.")


def register(app: typer.Typer) -> None:
    for command in (build, query):
        app.command()(command)
