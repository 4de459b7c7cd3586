"""`tracelake export`: a pin as files for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tracelake.cli.output import (
    LAKE_DEFAULT,
    Format,
    FormatOption,
    LakeOption,
    print_json,
    print_rows,
    print_text,
    say,
)

if TYPE_CHECKING:
    from tracelake.consumers.exports.export import ExportReport


def export(
    pin: Annotated[str, typer.Argument(help="The pin to export: NAME@N, or NAME for its newest number.")],
    to: Annotated[str, typer.Option("--to", help="jsonl, hf, trl-dpo, trl-prompts or atif.")],
    out: Annotated[Path, typer.Option("--out", help="A new or empty folder.")],
    lake: LakeOption = LAKE_DEFAULT,
    output: FormatOption = Format.HUMAN,
    include_withheld: Annotated[
        list[str] | None,
        typer.Option(
            "--include-withheld",
            metavar="TEACHER",
            help="Export this teacher's answers though its terms do not allow distillation, or are unknown; "
            "may be repeated.",
        ),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option("--allow", help="FILE/PLACE/RULE of a finding that is no secret; may be repeated."),
    ] = None,
) -> None:
    """Write a pin as files for other tools; refused if they contain what looks like a secret."""
    from tracelake.consumers.exports.export import TARGETS
    from tracelake.consumers.exports.export import export as export_pin
    from tracelake.lake import Lake

    if to not in TARGETS:
        raise typer.BadParameter(f"{to!r} is none of {', '.join(TARGETS)}", param_hint="--to")
    report = export_pin(
        Lake.open(lake), pin, to, out, include_withheld=include_withheld or [], allowed=allow or []
    )
    if output is Format.JSON:
        print_json(report.model_dump(mode="json"))
    else:
        _print_report(report)


def _print_report(report: ExportReport) -> None:
    print_text(f"{report.pin} as {report.target} in {report.folder}")
    print_rows([{"part": name, "rows": count} for name, count in report.rows.items()], ["part", "rows"])
    for each in report.withheld:
        terms = "forbid distillation" if each.distillable is False else "are unknown"
        print_text(f"withheld {each.pair_count} pairs of {each.teacher}: its terms {terms}")
    for reason, count in report.left_out.items():
        print_text(f"left out {count} {reason}")
    if report.retracted:
        print_text(f"{len(report.retracted)} exported rollouts were retracted after the pin was created:")
        for rollout_id in report.retracted:
            print_text(f"  {rollout_id}")
    say("README.md describes the files.")


def register(app: typer.Typer) -> None:
    app.command()(export)
