"""`tracelake teachers`: probe the endpoints of a teacher file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    from tracelake.producers.teachers.probe import Capabilities

teachers = typer.Typer(help="Teachers and their endpoints.", no_args_is_help=True)


@teachers.command()
def probe(
    teachers: Annotated[Path, typer.Option(help="The teacher file, TOML.")],
    name: Annotated[str | None, typer.Option(help="Only the teacher of this name.")] = None,
    budget: Annotated[str, typer.Option(help="Dollars that the probe of one teacher may cost.")] = "0.50",
    lake: LakeOption = LAKE_DEFAULT,
    output: FormatOption = Format.HUMAN,
) -> None:
    """Probe each teacher by about ten short requests: what its endpoint supports. Costs land as events."""
    from tracelake.lake import Lake
    from tracelake.producers.teachers.asking.jobs import price_teachers
    from tracelake.producers.teachers.pricing.budget import cap_microusd
    from tracelake.producers.teachers.probe import probe_teacher
    from tracelake.producers.teachers.run.replay import api_key
    from tracelake.producers.teachers.spec.teacher_file import read_teacher_file

    specs = [spec for spec in read_teacher_file(teachers).teachers if name in (None, spec.name)]
    if not specs:
        raise typer.BadParameter(f"no teacher is called {name!r}", param_hint="--name")
    opened, cap = Lake.open(lake), cap_microusd(budget)
    found: dict[str, Capabilities] = {}
    for teacher in price_teachers(specs):
        say(f"Asking {teacher.spec.name}…")
        found[teacher.spec.name] = probe_teacher(opened, teacher, api_key(teacher.spec), cap)
    if output is Format.JSON:
        print_json({teacher: _plain(capabilities) for teacher, capabilities in found.items()})
    else:
        _print(found)


def _print(found: dict[str, Capabilities]) -> None:
    rows = [
        {"capability": capability} | {teacher: getattr(each, capability) for teacher, each in found.items()}
        for capability in next(iter(found.values()))._fields
        if capability not in ("refusals", "usages")
    ]
    print_rows(rows, ["capability", *found])
    for teacher, each in found.items():
        for refusal in each.refusals:
            print_text(f"{teacher}: {refusal.question}: {refusal.http_status}: {refusal.detail[:200]}")


def _plain(capabilities: Capabilities) -> dict[str, Any]:
    return capabilities._asdict() | {"refusals": [refusal._asdict() for refusal in capabilities.refusals]}


def register(app: typer.Typer) -> None:
    app.add_typer(teachers, name="teachers")
