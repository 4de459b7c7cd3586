"""Commands that maintain a lake: maintain, rebuild."""

from __future__ import annotations

from typing import Annotated

import typer

from tracelake.cli.output import (
    EXIT_CHECK_FAILED,
    EXIT_FAILED,
    LAKE_DEFAULT,
    Format,
    FormatOption,
    LakeOption,
    print_json,
    print_text,
)

TablesArgument = Annotated[list[str] | None, typer.Argument(help="Names of tables; default: all.")]


def maintain(
    tables: TablesArgument = None, lake: LakeOption = LAKE_DEFAULT, output: FormatOption = Format.HUMAN
) -> None:
    """Merge small files of tables and remove old versions that no pin and no reader uses."""
    from tracelake.lake import Lake

    done = Lake.open(lake).maintain(tables)
    if output is Format.JSON:
        print_json([each.model_dump() for each in done])
    else:
        for each in done:
            data, other = (
                _change(tuple(round(size / 2**20, 2) for size in sizes))
                for sizes in (each.data_byte_counts, each.metadata_byte_counts)
            )
            print_text(
                f"{each.table}: fragments {_change(each.fragment_counts)}, "
                f"versions {_change(each.version_counts)}, rows {data} MiB, other files {other} MiB"
            )
            if each.restored_tag_count:
                print_text(f"  {each.restored_tag_count} pins had lost their tag; it is restored")
            if each.problem is not None:
                print_text(f"  not maintained: {each.problem}")
    if any(each.problem is not None for each in done):
        raise typer.Exit(EXIT_FAILED)


def rebuild(
    tables: TablesArgument = None, lake: LakeOption = LAKE_DEFAULT, output: FormatOption = Format.HUMAN
) -> None:
    """Create event tables again from landed files; lists the pins that can no longer be opened."""
    from tracelake.lake import Lake

    done = Lake.open(lake).rebuild(tables)
    if output is Format.JSON:
        print_json([each.model_dump() for each in done])
    else:
        for each in done:
            change = "unchanged" if each.digest == each.digest_before else "changed, or not readable before"
            print_text(f"{each.table}: {each.row_count} rows, digest {each.digest[:16]} ({change})")
            if each.quarantined_at is not None:
                print_text(f"  the unreadable table was moved to {each.quarantined_at}")
            if each.broken_pins:
                print_text(
                    f"  pins that cannot be opened: {', '.join(each.broken_pins)}; pin the tables again"
                )
    if any(each.broken_pins for each in done):
        raise typer.Exit(EXIT_CHECK_FAILED)


def _change(pair: tuple[float, ...]) -> str:
    before, after = pair
    return f"{before} → {after}" if before != after else str(after)


def register(app: typer.Typer) -> None:
    for command in (maintain, rebuild):
        app.command()(command)
