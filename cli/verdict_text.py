"""Verdicts as text for a terminal: outcome and scope first, then figures, reasons, provenance."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table

from tracelake.assets.folds.replay_cost.cost_model import (
    CostVerdict,
    DollarsPerTrace,
    MeasuredCost,
    ProjectedCost,
    TeacherCost,
)
from tracelake.assets.folds.replay_cost.cost_reasons import ALL_TEACHERS, dollars, subject_text
from tracelake.assets.folds.verdict.ab_model import Verdict
from tracelake.assets.folds.verdict.verdict_base import counted, signed
from tracelake.assets.verdicts.derive_verdict import AnyVerdict
from tracelake.cli.output import ANY_WIDTH

WIDTH = 100
SLICES_MAX = 12
"""With more slices than this, those without a finding are only counted."""
UNKNOWN = "–"
_RULER_WIDTH = 61


def verdict_text(verdict: AnyVerdict) -> str:
    """Plain text without colour, in lines of at most `WIDTH` characters where names allow."""
    spec = verdict.spec
    sections = _ab_sections(verdict) if isinstance(verdict, Verdict) else _cost_sections(verdict)
    lines = [f"{verdict.outcome}   {spec.experiment_id}: {spec.title}"]
    for section in sections:
        lines += [*section, ""]
    return "\n".join(lines[:-1])


def _ab_sections(verdict: Verdict) -> Iterator[list[str]]:
    spec = verdict.spec
    yield [f"scale: {spec.scale}; metric: {spec.metric}"]
    yield _difference(verdict)
    yield _ruler(verdict)
    arms = [
        (
            arm.arm,
            f"{arm.mean:.3f}",
            f"[{arm.interval_low:.3f}, {arm.interval_high:.3f}]",
            f"{arm.score_count:,}",
            f"{arm.ungraded_count:,}",
            f"{arm.missing_count:,}",
        )
        for arm in verdict.arms
    ]
    yield _table(("arm", "mean", "interval", "scores", "ungraded", "missing"), arms)
    if verdict.slices:
        yield _slices(verdict)
    yield _bullets(verdict.reasons)
    seeds = ", ".join(map(str, verdict.seeds))
    provenance = [f"seeds {seeds}; bootstrap {spec.resample_count:,} × seed {spec.bootstrap_seed}"]
    named = (("pin", spec.pin), ("pin digest", spec.pin_digest), ("spec", spec.spec_hash))
    yield provenance + [f"{name} {value}" for name, value in named if value]


def _difference(verdict: Verdict) -> list[str]:
    spec = verdict.spec
    interval = f"[{signed(verdict.interval_low)}, {signed(verdict.interval_high)}]"
    p_values = f"p = {verdict.p_value:.3g} (sign flips of {verdict.resampling_unit}s)"
    if verdict.seed_p_value is not None:
        p_values += f", {verdict.seed_p_value:.3g} (t on seeds)"
    return [
        f"{spec.treatment_arm} - {spec.control_arm} = {signed(verdict.difference)}   "
        f"{100 * (1 - spec.alpha):g} % interval {interval}   minimum effect {signed(spec.minimum_effect)}",
        f"{p_values}; power {verdict.achieved_power:.2f}; {counted(verdict.pair_count, 'pair')} of "
        f"{counted(len(verdict.seeds), 'seed')} × {counted(verdict.task_count, 'task')} in "
        f"{counted(verdict.cluster_count, 'cluster')}",
    ]


def _ruler(verdict: Verdict) -> list[str]:
    """The interval on a line with 0 and the minimum effect."""
    least = verdict.spec.minimum_effect
    points = (verdict.interval_low, verdict.interval_high, 0.0, least)
    start, end = min(points), max(points)
    margin = 0.05 * (end - start)

    def column(value: float) -> int:
        return round((value - start + margin) / (end - start + 2 * margin) * (_RULER_WIDTH - 1))

    line = [" "] * _RULER_WIDTH
    low, high = column(verdict.interval_low), column(verdict.interval_high)
    line[low : high + 1] = ["─"] * (high - low + 1)
    line[low], line[high] = "├", "┤"
    line[column(0.0)], line[column(least)] = "┊", "┆"
    line[column(verdict.difference)] = "●"
    labels = [" "] * (_RULER_WIDTH + 12)
    for value, label in ((0.0, "0"), (least, signed(least))):
        at = column(value)
        if not any(mark != " " for mark in labels[max(0, at - 1) : at + len(label) + 1]):
            labels[at : at + len(label)] = label
    return ["  " + "".join(line).rstrip(), "  " + "".join(labels).rstrip()]


def _slices(verdict: Verdict) -> list[str]:
    show_all = len(verdict.slices) <= SLICES_MAX
    shown = [each for each in verdict.slices if show_all or each.finding != "inconclusive"]
    rows = [
        (
            each.cluster,
            f"{each.task_count:,}",
            signed(each.difference),
            f"[{signed(each.interval_low)}, {signed(each.interval_high)}]",
            f"{each.adjusted_p_value:.3f}",
            each.finding,
        )
        for each in shown
    ]
    lines = _table(("slice", "tasks", "difference", "interval", "p (Holm)", "finding"), rows)
    if len(shown) < len(verdict.slices):
        lines.append(f"and {counted(len(verdict.slices) - len(shown), 'slice')} without a finding")
    return lines + [f"without {each.cluster}: {signed(each.difference)}" for each in verdict.leave_one_out]


def _cost_sections(verdict: CostVerdict) -> Iterator[list[str]]:
    spec = verdict.spec
    subject = textwrap.wrap(f"about: {subject_text(verdict)}", WIDTH, subsequent_indent="       ")
    yield [f"scale: {spec.scale}", *subject]
    if verdict.measured is not None:
        yield _measured_dollars(verdict, verdict.measured)
        columns = ("teacher", "attempts", "answered", "cached", "prompt tokens", "completion")
        yield _table((*columns, "failed attempts"), [_calls(each) for each in verdict.teachers])
    if verdict.projected is not None:
        yield _projected_dollars(verdict.projected)
    yield _bullets(verdict.reasons)
    rule = spec.rule
    provenance = [
        f"{100 * (1 - rule.alpha):g} % intervals over traces; bootstrap {rule.resample_count:,} × "
        f"seed {rule.bootstrap_seed}"
    ]
    yield provenance + ([f"spec {spec.spec_hash}"] if spec.spec_hash else [])


def _measured_dollars(verdict: CostVerdict, measured: MeasuredCost) -> list[str]:
    title = f"MEASURED on {counted(verdict.trace_count, 'trace')}, {counted(verdict.turn_count, 'turn')}"
    columns = ("teacher", "$/trace", "interval", "median", "p95", "$ by", "s/turn p50", "p95")
    sets = [(each.teacher, each.measured, str(each.cost_from)) for each in verdict.teachers]
    rows = [
        (name, *_dollar_cells(each.dollars_per_trace), cost_from, *_second_cells(each))
        for name, each, cost_from in (*sets, (ALL_TEACHERS, measured, ""))
    ]
    return [title, *_table(columns, rows)]


def _projected_dollars(projected: ProjectedCost) -> list[str]:
    title = (
        f"PROJECTED, not measured: {counted(projected.trace_count, 'trace')}, "
        f"{counted(projected.turn_count, 'turn')}, recorded tokens at registered prices"
    )
    figures = ("interval", "median", "p95")
    names = [*(each.teacher for each in projected.teachers), ALL_TEACHERS]
    rows = [
        (name, *_dollar_cells(each.uncached), *_dollar_cells(each.cached))
        for name, each in zip(names, (*projected.teachers, projected.total), strict=True)
    ]
    return [title, *_table(("teacher", "no cache", *figures, "all cached", *figures), rows)]


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


def _dollar_cells(spread: DollarsPerTrace) -> tuple[str, ...]:
    interval = f"[{dollars(spread.interval_low)}, {dollars(spread.interval_high)}]"
    return dollars(spread.mean), interval, dollars(spread.median), dollars(spread.p95)


def _second_cells(measured: MeasuredCost) -> tuple[str, str]:
    seconds = measured.seconds_per_turn
    return (UNKNOWN, UNKNOWN) if seconds is None else (f"{seconds.p50:.3g}", f"{seconds.p95:.3g}")


def _bullets(reasons: Sequence[str]) -> list[str]:
    bullet = textwrap.TextWrapper(
        WIDTH - 2, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False
    )
    return [line for reason in reasons for line in bullet.wrap(reason)]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table without a frame: names to the left, figures to the right."""
    table = Table(box=None, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    text = io.StringIO()
    console = Console(
        file=text, width=ANY_WIDTH, color_system=None, markup=False, emoji=False, highlight=False
    )
    console.print(table)
    return [line.rstrip() for line in text.getvalue().splitlines()]
