"""A verdict for a terminal: outcome and scale first, then the interval as a line, arms, slices, reasons,
provenance."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from tracelake.assets.folds.verdict.model import Verdict
from tracelake.assets.folds.verdict.reasons import counted, signed

WIDTH = 100
SLICES_MAX = 12
"""With more slices than this, those without a finding are only counted."""
_RULER = 61


def render_text(found: Verdict) -> str:
    """Plain text, no colour, lines of at most `WIDTH` characters where names allow."""
    spec = found.spec
    lines = [
        f"{found.outcome}   {spec.experiment_id}: {spec.title}",
        f"scale: {spec.scale}; metric: {spec.metric}",
    ]
    if spec.claim:
        lines += textwrap.wrap(f"claim: {spec.claim}", WIDTH, subsequent_indent="       ")
    lines += ["", *_difference(found), "", *_ruler(found), "", *_arms(found)]
    if found.slices:
        lines += ["", *_slices(found)]
    lines += ["", *(line for reason in found.reasons for line in _bullet(reason)), "", *_provenance(found)]
    return "\n".join(lines)


def _difference(found: Verdict) -> list[str]:
    spec = found.spec
    interval = f"[{signed(found.interval_low)}, {signed(found.interval_high)}]"
    percent = f"{100 * (1 - spec.alpha):g} %"
    p_values = f"p = {found.p_value:.3g} (sign flips of {found.resampling_unit}s)"
    if found.seed_p_value is not None:
        p_values += f", {found.seed_p_value:.3g} (t on seeds)"
    return [
        f"{spec.treatment_arm} - {spec.control_arm} = {signed(found.difference)}   "
        f"{percent} interval {interval}   minimum effect {signed(spec.minimum_effect)}",
        f"{p_values}; power {found.achieved_power:.2f}; {counted(found.pair_count, 'pair')} of "
        f"{counted(len(found.seeds), 'seed')} × {counted(found.task_count, 'task')} in "
        f"{counted(found.cluster_count, 'cluster')}",
    ]


def _ruler(found: Verdict) -> list[str]:
    """The interval on a line with 0 and the minimum effect."""
    least = found.spec.minimum_effect
    points = (found.interval_low, found.interval_high, 0.0, least)
    start, end = min(points), max(points)
    margin = 0.05 * (end - start)

    def place(value: float) -> int:
        return round((value - start + margin) / (end - start + 2 * margin) * (_RULER - 1))

    line = [" "] * _RULER
    low, high = place(found.interval_low), place(found.interval_high)
    line[low : high + 1] = ["─"] * (high - low + 1)
    line[low], line[high] = "├", "┤"
    line[place(0.0)], line[place(least)] = "┊", "┆"
    line[place(found.difference)] = "●"
    marks = [" "] * (_RULER + 12)
    for value, label in ((0.0, "0"), (least, signed(least))):
        at = place(value)
        if not any(mark != " " for mark in marks[max(0, at - 1) : at + len(label) + 1]):
            marks[at : at + len(label)] = label
    return ["  " + "".join(line).rstrip(), "  " + "".join(marks).rstrip()]


def _arms(found: Verdict) -> list[str]:
    width = max(3, *(len(arm.arm) for arm in found.arms))
    rows = [f"{'arm':<{width}}     mean   interval             scores  ungraded  missing"]
    for arm in found.arms:
        interval = f"[{arm.interval_low:.3f}, {arm.interval_high:.3f}]"
        rows.append(
            f"{arm.arm:<{width}}  {arm.mean:7.3f}   {interval:<18} {arm.score_count:8,} "
            f"{arm.ungraded_count:9,} {arm.missing_count:8,}"
        )
    return rows


def _slices(found: Verdict) -> list[str]:
    shown = [
        each for each in found.slices if each.finding != "inconclusive" or len(found.slices) <= SLICES_MAX
    ]
    width = max([5, *(len(each.cluster) for each in shown)])
    rows = [f"{'slice':<{width}}   tasks  difference   interval              p (Holm)  finding"]
    for each in shown:
        interval = f"[{signed(each.interval_low)}, {signed(each.interval_high)}]"
        rows.append(
            f"{each.cluster:<{width}}  {each.task_count:6,}  {signed(each.difference):>10}   {interval:<20} "
            f"{each.adjusted_p_value:9.3f}  {each.finding}"
        )
    if len(shown) < len(found.slices):
        rows.append(f"and {counted(len(found.slices) - len(shown), 'slice')} without a finding")
    return rows + [f"without {each.cluster}: {signed(each.difference)}" for each in found.leave_one_out]


def _bullet(reason: str) -> list[str]:
    return textwrap.wrap(reason, WIDTH - 2, initial_indent="- ", subsequent_indent="  ")


def _provenance(found: Verdict) -> Iterator[str]:
    spec = found.spec
    seeds = ", ".join(map(str, found.seeds))
    yield f"seeds {seeds}; bootstrap {spec.resample_count:,} × seed {spec.bootstrap_seed}"
    for name, value in (("pin", spec.pin), ("pin digest", spec.pin_digest), ("spec", spec.spec_hash)):
        if value:
            yield f"{name} {value}"
    for name, digest in sorted(spec.lock_digests.items()):
        yield f"lock {name} {digest}"
