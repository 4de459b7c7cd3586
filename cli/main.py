"""`tracelake`: its commands, and the exit codes of errors."""

from __future__ import annotations

import itertools
import sys
from typing import Annotated

import typer

from tracelake.cli.commands import (
    build,
    conflicts,
    costs,
    experiments,
    export,
    import_traces,
    lake,
    maintenance,
    register,
    replay,
    retract,
    teachers,
)
from tracelake.cli.output import Format, print_error, print_text
from tracelake.schemas.errors import TracelakeError
from tracelake.schemas.version import TRACELAKE_VERSION

app = typer.Typer(
    name="tracelake",
    help="The lake behind agentic LLM post-training.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

for module in (
    lake,
    maintenance,
    import_traces,
    conflicts,
    retract,
    replay,
    teachers,
    costs,
    build,
    export,
    register,
    experiments,
):
    module.register(app)


def _print_version(asked: bool) -> None:
    if asked:
        print_text(f"tracelake {TRACELAKE_VERSION}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """The lake behind agentic LLM post-training."""


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit with its code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        app(arguments, standalone_mode=True)
    except TracelakeError as error:
        print_error(error, Format.JSON if _wants_json(arguments) else Format.HUMAN)
        sys.exit(error.exit_code)


def _wants_json(arguments: list[str]) -> bool:
    return "--format=json" in arguments or any(
        pair == ("--format", "json") for pair in itertools.pairwise(arguments)
    )


if __name__ == "__main__":
    main()
