"""Output of commands: data on stdout, progress and errors on stderr.

**`--format json` prints one JSON value and nothing else on stdout.**
**Exit codes**: 0 success, 1 failure, 2 wrong usage, 3 a check failed, 4 the budget is spent.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from tracelake.schemas.errors import TracelakeError

LAKE_VARIABLE = "TRACELAKE_LAKE"
LAKE_DEFAULT = "lake-data"

EXIT_FAILED = 1
REDRAW_AFTER_S = 0.1
ANY_WIDTH = 10_000
EXIT_CHECK_FAILED = 3


class Format(StrEnum):
    HUMAN = "human"
    JSON = "json"


LakeOption = Annotated[
    str,
    typer.Option(
        "--lake",
        envvar=LAKE_VARIABLE,
        help="Folder of the lake, or s3://BUCKET/PREFIX.",
        rich_help_panel="Common",
    ),
]
FormatOption = Annotated[
    Format, typer.Option("--format", help="json: one JSON value on stdout.", rich_help_panel="Common")
]

messages = Console(stderr=True, highlight=False)
_data = Console(highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Print a line for people on stderr."""
    messages.print(text, markup=False, soft_wrap=True)


def print_json(value: object) -> None:
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str).decode() + "\n")


def print_text(text: str) -> None:
    sys.stdout.write(text.rstrip("\n") + "\n")


def print_rows(rows: Sequence[dict[str, Any]], columns: Sequence[str], *, title: str | None = None) -> None:
    """Print a table; on a screen too narrow for it, one record below the other. Cell text is escaped: it may
    come from a model."""
    cells = [[escape(_cell(row.get(column))) for column in columns] for row in rows]
    table = Table(*columns, title=title, title_justify="left")
    for row in cells:
        table.add_row(*row)
    narrowest = Measurement.get(_data, _data.options.update(max_width=ANY_WIDTH), table).minimum
    if cells and narrowest > _data.width:
        table = Table(show_header=False, title=title, title_justify="left")
        for row in cells:
            for column, cell in zip(columns, row, strict=True):
                table.add_row(escape(column), cell)
            table.add_section()
    _data.print(table)


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if len(text) <= 120 else f"{text[:117]}…"


@contextmanager
def progress(unit: str, *, own_thread: bool = True) -> Iterator[Progress]:
    """A progress bar on stderr with count, rate and remaining time.

    Without `own_thread` it is redrawn only when it advances: a process that forks later must have one thread.
    """
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} " + unit + "/s"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=messages, auto_refresh=own_thread) as bar:
        yield bar


def advance(
    bar: Progress, task_id: Any, amount: int = 1, *, done: int | None = None, total: int | None = None
) -> None:
    """Advance a bar of `progress` by `amount`, or to `done`, and refresh its rate; `total` sets a goal that
    was unknown before."""
    task = bar.tasks[task_id]
    place = task.completed + amount if done is None else done
    rate = f"{place / task.elapsed:.1f}" if task.elapsed else "–"
    bar.update(task_id, completed=place, total=task.total if total is None else total, rate=rate)
    if not bar.live.auto_refresh and time.monotonic() - task.fields.get("drawn", 0.0) > REDRAW_AFTER_S:
        bar.update(task_id, drawn=time.monotonic(), refresh=True)


def print_error(error: TracelakeError, output: Format) -> None:
    if output is Format.JSON:
        print_json({"error": {"class": type(error).__name__, "message": str(error)}})
    messages.print(f"[bold red]{type(error).__name__}[/]: {escape(str(error))}", soft_wrap=True)
