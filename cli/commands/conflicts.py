"""`tracelake conflicts`: events under one key that differ, and decisions about them."""

from __future__ import annotations

from collections.abc import Sequence
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
    from tracelake.lake.curation.conflicts import Conflict

CONFLICTS_SHOWN_MAX = 25
CURES_SHOWN_MAX = 5
COLUMNS = ("conflict", "state", "rollout", "what", "event", "from", "differs")

conflicts = typer.Typer(help="Events under one key that differ.", invoke_without_command=True)


@conflicts.callback()
def list_conflicts(
    context: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="List resolved ones too.")] = False,
    lake: LakeOption = LAKE_DEFAULT,
    output: FormatOption = Format.HUMAN,
) -> None:
    """List conflicts: where both sides come from, what differs, and how to resolve it. Builds leave the
    rollouts of open conflicts out."""
    if context.invoked_subcommand is not None:
        source = context.get_parameter_source("lake")
        if source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(f"write it after {context.invoked_subcommand}", param_hint="--lake")
        return
    from tracelake.lake import Lake

    found = Lake.open(lake).conflicts()
    listed = [each for each in found if every or each.state == "open"]
    if output is Format.JSON:
        print_json([each.model_dump(mode="json") for each in listed])
        return
    _print(listed)
    print_text(_summary(found))
    if len(listed) > CONFLICTS_SHOWN_MAX:
        say(f"The first {CONFLICTS_SHOWN_MAX} are shown; --format json prints all.")
    for cure in list(dict.fromkeys(each.cure for each in listed if each.cure))[:CURES_SHOWN_MAX]:
        say(f"Next: {cure}")


@conflicts.command()
def resolve(
    target: Annotated[
        str, typer.Argument(metavar="CONFLICT|ROLLOUT", help="One conflict, or all conflicts of a rollout.")
    ],
    reason: Annotated[str, typer.Option(help="Why; it is stored with the decision.")],
    use: Annotated[
        str | None, typer.Option(help="The event that counts: first, other, neither or EVENT_ID.")
    ] = None,
    file: Annotated[
        str | None,
        typer.Option("--file", help="The source whose events count, or the last parts of its path."),
    ] = None,
    lake: LakeOption = LAKE_DEFAULT,
    output: FormatOption = Format.HUMAN,
) -> None:
    """Decide which event counts; the latest decision counts. `neither` leaves the rollout out on purpose."""
    from tracelake.lake import Lake

    decided = Lake.open(lake).resolve(target, use=use, file=file, reason=reason)
    if output is Format.JSON:
        print_json([each.model_dump(mode="json") for each in decided])
        return
    for each in decided:
        print_text(f"{each.conflict_id}  {_what(each)}: {_decision(each)}")
    say("Next: tracelake build")


def _print(listed: Sequence[Conflict]) -> None:
    rows = [row for each in listed[:CONFLICTS_SHOWN_MAX] for row in _rows(each)]
    if rows:
        print_rows(rows, COLUMNS)


def _rows(conflict: Conflict) -> list[dict[str, Any]]:
    """One row per event."""
    from tracelake.lake.curation.conflicts import one_line

    rows: list[dict[str, Any]] = []
    for place, event in enumerate(conflict.events):
        values = [
            f"{each.field}={each.values[place]}" for each in conflict.differing if place < len(each.values)
        ]
        rows.append(
            {
                "conflict": conflict.conflict_id,
                "state": "used" if event.event_id == conflict.chosen_event_id else conflict.state,
                "rollout": one_line(conflict.rollout_id or "–"),
                "what": _what(conflict),
                "event": event.event_id[:12],
                "from": one_line(event.source_uri or f"run {event.run_id}"),
                "differs": one_line("; ".join(values)),
            }
        )
    return rows


def _what(conflict: Conflict) -> str:
    from tracelake.lake.curation.conflicts import one_line

    key = [f"{name} {value}" for name, value in conflict.key.items() if name != "rollout_id"]
    return one_line(", ".join([conflict.kind, *key]))


def _decision(conflict: Conflict) -> str:
    from tracelake.lake.curation.conflicts import one_line

    if conflict.chosen_event_id is None:
        return "no event counts"
    [chosen] = [each for each in conflict.events if each.event_id == conflict.chosen_event_id]
    return f"{chosen.event_id[:12]} from {one_line(chosen.source_uri or f'run {chosen.run_id}')} counts"


def _summary(found: Sequence[Conflict]) -> str:
    open_count = sum(each.state == "open" for each in found)
    rollouts = len({each.rollout_id for each in found if each.state == "open" and each.rollout_id})
    return f"open conflicts: {open_count}, in rollouts: {rollouts}; resolved: {len(found) - open_count}"


def register(app: typer.Typer) -> None:
    app.add_typer(conflicts, name="conflicts")
