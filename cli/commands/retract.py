"""`tracelake retract`: rollouts that builds leave out from now on."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from tracelake.cli.output import (
    LAKE_DEFAULT,
    Format,
    FormatOption,
    LakeOption,
    print_json,
    print_text,
    say,
)


class NamedAs(StrEnum):
    ROLLOUT = "rollout"
    SOURCE_RUN = "source_run"
    IMPORT_RUN = "import_run"


def retract(
    name: Annotated[
        str,
        typer.Argument(
            metavar="ROLLOUT|RUN", help="The id of a rollout, the name of its run, or the run of an import."
        ),
    ],
    reason: Annotated[str, typer.Option(help="Why; it is stored with the decision.")],
    undo: Annotated[bool, typer.Option("--undo", help="Take a retraction back.")] = False,
    named_as: Annotated[
        NamedAs | None, typer.Option("--as", help="What NAME is, where it could be several things.")
    ] = None,
    lake: LakeOption = LAKE_DEFAULT,
    output: FormatOption = Format.HUMAN,
) -> None:
    """Leave a rollout, or all rollouts of a run, out of later builds. Pins stay as they are and say so."""
    from tracelake.cli.retracted import retracted_by_pin
    from tracelake.lake import Lake

    opened = Lake.open(lake)
    done = opened.retract(
        name, reason=reason, undo=undo, named_as=None if named_as is None else named_as.value
    )
    of_pin = retracted_by_pin(opened)
    pins = {pin: len(set(rollouts or ()) & set(done.rollout_ids)) for pin, rollouts in of_pin.items()}
    pins = {pin: count for pin, count in pins.items() if count}
    if output is Format.JSON:
        facts = done._asdict() | {"undone": undo, "new_events": len(done.events), "pins": pins}
        print_json({key: value for key, value in facts.items() if key != "events"})
        return
    count = len(done.rollout_ids)
    what = f"{count} rollout{'' if count == 1 else 's'}"
    if not done.events:
        print_text(f"{what}: retracted before, for the same reason; nothing changed.")
    elif undo:
        print_text(f"Took the retraction of {what} back.")
    else:
        print_text(f"Retracted {what}.")
    for pin, still_there in pins.items():
        print_text(f"pin {pin} stays as it is, with {still_there} of them")
    say("Next: tracelake build")


def register(app: typer.Typer) -> None:
    app.command()(retract)
