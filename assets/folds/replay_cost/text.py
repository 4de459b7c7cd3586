"""The verdict of a replay's cost for a terminal: outcome and whom it is about first, then what was measured,
what is projected, reasons, provenance."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from tracelake.assets.folds.replay_cost.model import CostVerdict, Measured, Projected, Spread, TeacherCost
from tracelake.assets.folds.replay_cost.reasons import dollars
from tracelake.assets.folds.verdict.reasons import counted

WIDTH = 100
ALL = "all together"
UNKNOWN = "–"


def render_cost_text(found: CostVerdict) -> str:
    """Plain text, no colour."""
    spec = found.spec
    lines = [
        f"{found.outcome}   {spec.experiment_id}: {spec.title}",
        f"scale: {spec.scale}",
        *textwrap.wrap(f"about: {about(found)}", WIDTH, subsequent_indent="       "),
    ]
    if found.measured is not None:
        lines += ["", *_measured(found, found.measured)]
    if found.projected is not None:
        lines += ["", *_projected(found.projected)]
    lines += ["", *(line for reason in found.reasons for line in _bullet(reason)), "", *_provenance(found)]
    return "\n".join(lines)


def about(found: CostVerdict) -> str:
    """Whose figures these are."""
    if found.measured is None:
        return "nobody: no trace was put to a teacher as a whole"
    names = ", ".join(found.measured.teachers)
    return f"{names}, a rehearsal: none of them is of the claim" if found.rehearsal else names


def _measured(found: CostVerdict, measured: Measured) -> Iterator[str]:
    yield f"MEASURED on {counted(found.trace_count, 'trace')}, {counted(found.turn_count, 'turn')}"
    rows: list[tuple[str, ...]]
    rows = [("teacher", "$/trace", "interval", "median", "p95", "$ by", "s/turn p50", "p95")]
    rows += [
        (each.teacher, *_spread(each.measured), each.cost_from, *_pace(each.measured))
        for each in found.teachers
    ]
    rows.append((ALL, *_spread(measured), "", *_pace(measured)))
    yield from _table(rows)
    yield ""
    rows = [("teacher", "attempts", "answered", "cached", "prompt tokens", "completion", "failed attempts")]
    rows += [_calls(each) for each in found.teachers]
    yield from _table(rows)


def _projected(projected: Projected) -> Iterator[str]:
    yield (
        f"PROJECTED, not measured: {counted(projected.trace_count, 'trace')}, "
        f"{counted(projected.turn_count, 'turn')}, recorded tokens at registered prices"
    )
    columns = ("interval", "median", "p95")
    rows: list[tuple[str, ...]] = [("teacher", "no cache", *columns, "all cached", *columns)]
    for each in (*projected.teachers, projected.total):
        name = ALL if each is projected.total else each.teacher
        rows.append((name, *_columns(each.uncached), *_columns(each.cached)))
    yield from _table(rows)


def _calls(each: TeacherCost) -> tuple[str, ...]:
    failures = ", ".join(f"{name} {count}" for name, count in sorted(each.failures.items()))
    return (
        each.teacher,
        f"{each.attempt_count:,}",
        f"{each.measured.answered_share:.1%}",
        UNKNOWN if each.cached_share is None else f"{each.cached_share:.1%}",
        f"{each.prompt_token_count:,}",
        f"{each.completion_token_count:,}",
        failures or "none",
    )


def _spread(measured: Measured) -> tuple[str, ...]:
    return _columns(measured.dollars_per_trace)


def _columns(spread: Spread) -> tuple[str, ...]:
    interval = f"[{dollars(spread.interval_low)}, {dollars(spread.interval_high)}]"
    return dollars(spread.mean), interval, dollars(spread.median), dollars(spread.p95)


def _pace(measured: Measured) -> tuple[str, str]:
    pace = measured.seconds_per_turn
    return (UNKNOWN, UNKNOWN) if pace is None else (f"{pace.p50:.3g}", f"{pace.p95:.3g}")


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Names to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        yield "  ".join([row[0].ljust(widths[0]), *cells[1:]]).rstrip()


def _bullet(reason: str) -> list[str]:
    return textwrap.wrap(
        reason, WIDTH - 2, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False
    )


def _provenance(found: CostVerdict) -> Iterator[str]:
    rule = found.spec.rule
    yield (
        f"{100 * (1 - rule.alpha):g} % intervals over traces; bootstrap {rule.resample_count:,} × "
        f"seed {rule.bootstrap_seed}"
    )
    if found.spec.spec_hash:
        yield f"spec {found.spec.spec_hash}"
