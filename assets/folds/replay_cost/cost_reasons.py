"""The reasons of a verdict on a replay's cost, as sentences; the first one states the decision."""

from __future__ import annotations

from collections.abc import Iterator

from tracelake.assets.folds.replay_cost.cost_model import (
    CostVerdict,
    DollarsPerTrace,
    MeasuredCost,
    ProjectedCost,
    SecondsPerTurn,
)
from tracelake.assets.folds.verdict.verdict_base import counted

STATED_SHARE_MIN = 0.95
"""Share of the known dollars that the provider has to state."""
ALL_TEACHERS = "all together"


def cost_reasons(verdict: CostVerdict) -> Iterator[str]:
    yield _decision(verdict)
    if verdict.measured is not None:
        yield from _findings(verdict, verdict.measured)
        yield from _doubts(verdict, verdict.measured)
    if verdict.projected is not None:
        yield _projection(verdict.projected)


def dollars(value: float) -> str:
    """Two decimals; two significant digits for less than ten cents."""
    return f"${value:,.2f}" if value == 0 or value >= 0.1 else f"${value:.2g}"


def mean_text(spread: DollarsPerTrace) -> str:
    return (
        f"{dollars(spread.mean)} [{dollars(spread.interval_low)}, {dollars(spread.interval_high)}] per trace"
    )


def p95_text(seconds: SecondsPerTurn) -> str:
    return f"p95 {seconds.p95:.3g} s [{seconds.p95_low:.3g}, {seconds.p95_high:.3g}] per turn"


def subject_text(verdict: CostVerdict) -> str:
    """The teachers whose figures these are."""
    if verdict.measured is None:
        return "nobody: no trace was put to a teacher as a whole"
    names = ", ".join(verdict.measured.teachers)
    return f"{names}, a rehearsal: none of them is of the claim" if verdict.rehearsal else names


def _decision(verdict: CostVerdict) -> str:
    names, least = ", ".join(verdict.spec.teachers), verdict.spec.thresholds.traces_min
    enough = counted(least, "trace")
    if verdict.measured is None:
        return (
            f"No trace was put to a teacher as a whole: nothing is measured. It takes {enough} and {names}."
        )
    if verdict.rehearsal:
        return (
            f"None of the claim's teachers was asked: the figures are those of "
            f"{', '.join(verdict.measured.teachers)}, and say nothing about the cost of {names}. "
            f"It takes {enough} through these."
        )
    if verdict.trace_count < least:
        return f"Asked about: {counted(verdict.trace_count, 'whole trace')}; it takes {least}."
    if verdict.outcome == "VALIDATED":
        return f"Dollars, seconds and answers hold for {', '.join(verdict.measured.teachers)}."
    if verdict.outcome == "PARTIAL":
        mix = verdict.cheaper_mix or verdict.measured
        return f"It holds for {', '.join(mix.teachers)} only: {mean_text(mix.dollars_per_trace)}."
    if verdict.outcome == "INVALIDATED":
        failed = [name for name, each in verdict.measured.findings if each == "fails"]
        return f"The threshold of {' and of '.join(failed)} does not hold, for no subset of the teachers."
    return "The measurements are consistent with the claim, and do not show it."


def _findings(verdict: CostVerdict, measured: MeasuredCost) -> Iterator[str]:
    limits, findings = verdict.spec.thresholds, measured.findings
    relation = {"holds": "below", "fails": "above", "open": "not shown to be below"}
    yield (
        f"Measured: {mean_text(measured.dollars_per_trace)}, {relation[findings.dollars]} "
        f"{dollars(limits.dollars_per_trace_max)}; {measured.traces_above_count} of "
        f"{counted(verdict.trace_count, 'trace')} cost more."
    )
    if measured.seconds_per_turn is None:
        yield "No latency was recorded."
    else:
        yield (
            f"Measured: {p95_text(measured.seconds_per_turn)}, {relation[findings.seconds]} "
            f"{limits.seconds_per_turn_max:g} s."
        )
    enough = "enough" if findings.answers == "holds" else "not enough"
    yield (
        f"Answered: {measured.answered_share:.2%} of {counted(measured.question_count, 'question')}, "
        f"{enough} for the required {limits.answered_share_min:.0%}."
    )


def _doubts(verdict: CostVerdict, measured: MeasuredCost) -> Iterator[str]:
    unstated = [each for each in verdict.teachers if each.stated_share < STATED_SHARE_MIN]
    if unstated:
        named = ", ".join(f"{each.teacher} ({each.cost_from})" for each in unstated)
        yield f"The dollars of {named} are only an estimate: the provider did not state them."
    if verdict.absent_teachers and not verdict.rehearsal:
        yield f"Not asked: {', '.join(verdict.absent_teachers)}."
    if verdict.chosen_trace_count > verdict.trace_count:
        left = verdict.chosen_trace_count - verdict.trace_count
        yield f"Left out, because not put to every teacher as a whole: {counted(left, 'chosen trace')}."
    unknown = measured.dollars_per_trace_max.mean - measured.dollars_per_trace.mean
    if unknown > 0:
        yield f"Attempts of unknown cost could add up to {dollars(unknown)} per trace."
    if verdict.registered_late:
        yield "The experiment was registered after the first call: its thresholds may rest on known figures."


def _projection(projected: ProjectedCost) -> str:
    total, cached = projected.total.uncached, projected.total.cached
    return (
        f"Projected, not measured, for the claim's teachers on {projected.trace_count} traces: "
        f"{mean_text(total)} without a cache, {mean_text(cached)} if every prefix is read from one."
    )
