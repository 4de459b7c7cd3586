"""Why the verdict of a replay's cost is what it is, as sentences; the first one decides."""

from __future__ import annotations

from collections.abc import Iterator

from tracelake.assets.folds.replay_cost.model import CostVerdict, Measured, Pace, Spread
from tracelake.assets.folds.verdict.reasons import counted

STATED_SHARE_MIN = 0.95
"""Of the dollars that are known, those of which the provider says so."""


def cost_reasons(found: CostVerdict) -> Iterator[str]:
    yield _decision(found)
    if found.measured is not None:
        yield from _findings(found, found.measured)
        yield from _doubts(found, found.measured)
    if found.projected is not None:
        yield _projected_dollars(found)


def dollars(value: float) -> str:
    """Two decimals, and more where two would show nothing."""
    return f"${value:,.2f}" if value == 0 or value >= 0.1 else f"${value:.2g}"


def mean_of(spread: Spread) -> str:
    return (
        f"{dollars(spread.mean)} [{dollars(spread.interval_low)}, {dollars(spread.interval_high)}] per trace"
    )


def tail_of(pace: Pace) -> str:
    return f"p95 {pace.p95:.3g} s [{pace.p95_low:.3g}, {pace.p95_high:.3g}] per turn"


def _decision(found: CostVerdict) -> str:
    names, least = ", ".join(found.spec.teachers), found.spec.thresholds.traces_min
    enough = counted(least, "trace")
    if found.measured is None:
        return (
            f"No trace was put to a teacher as a whole: nothing is measured. It takes {enough} and {names}."
        )
    if found.rehearsal:
        return (
            f"None of the claim's teachers was asked: the figures are those of "
            f"{', '.join(found.measured.teachers)}, and say nothing about what {names} cost. "
            f"It takes {enough} through these."
        )
    if found.trace_count < least:
        return f"Asked about: {counted(found.trace_count, 'whole trace')}; it takes {least}."
    if found.outcome == "VALIDATED":
        return f"Dollars, seconds and answers hold for {', '.join(found.measured.teachers)}."
    if found.outcome == "PARTIAL":
        mix = found.cheaper_mix or found.measured
        return f"It holds for {', '.join(mix.teachers)} only: {mean_of(mix.dollars_per_trace)}."
    if found.outcome == "INVALIDATED":
        failed = [name for name, each in found.measured.findings if each == "fails"]
        return f"The threshold of {' and of '.join(failed)} does not hold, for no part of the teachers."
    return "What was measured is consistent with the claim, and does not show it."


def _findings(found: CostVerdict, measured: Measured) -> Iterator[str]:
    limits, findings = found.spec.thresholds, measured.findings
    says = {"holds": "below", "fails": "above", "open": "not shown to be below"}
    yield (
        f"Measured: {mean_of(measured.dollars_per_trace)}, {says[findings.dollars]} "
        f"{dollars(limits.dollars_per_trace_max)}; {measured.traces_above_count} of "
        f"{counted(found.trace_count, 'trace')} cost more."
    )
    if measured.seconds_per_turn is None:
        yield "No latency was told."
    else:
        yield (
            f"Measured: {tail_of(measured.seconds_per_turn)}, {says[findings.seconds]} "
            f"{limits.seconds_per_turn_max:g} s."
        )
    enough = "enough" if findings.answers == "holds" else "not enough"
    yield (
        f"Answered: {measured.answered_share:.2%} of {counted(measured.question_count, 'question')}, "
        f"{enough} for the required {limits.answered_share_min:.0%}."
    )


def _doubts(found: CostVerdict, measured: Measured) -> Iterator[str]:
    unstated = [each for each in found.teachers if each.stated_share < STATED_SHARE_MIN]
    if unstated:
        named = ", ".join(f"{each.teacher} ({each.cost_from})" for each in unstated)
        yield f"The dollars of {named} are not the provider's word: they are no more than an estimate."
    if found.absent_teachers and not found.rehearsal:
        yield f"Not asked: {', '.join(found.absent_teachers)}."
    if found.chosen_trace_count > found.trace_count:
        left = found.chosen_trace_count - found.trace_count
        yield f"Left out, because not put to every teacher as a whole: {counted(left, 'chosen trace')}."
    most = measured.dollars_per_trace_max.mean - measured.dollars_per_trace.mean
    if most > 0:
        yield f"Attempts of unknown cost could add up to {dollars(most)} per trace."
    if found.registered_late:
        yield "The registration came after the first call: the thresholds were set when figures were known."


def _projected_dollars(found: CostVerdict) -> str:
    assert found.projected is not None
    total, cached = found.projected.total.uncached, found.projected.total.cached
    return (
        f"Projected, not measured, for the claim's teachers on {found.projected.trace_count} traces: "
        f"{mean_of(total)} without a cache, {mean_of(cached)} if every prefix is read from one."
    )
