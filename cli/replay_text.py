"""Plans and reports of replays, printed for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracelake.cli.output import print_rows

if TYPE_CHECKING:
    from tracelake.producers.teachers.asking.tiers import TierOutcome
    from tracelake.producers.teachers.forecast.plan import Interval, ReplayPlan, TeacherPlan
    from tracelake.producers.teachers.run.replay_report import ReplayReport, TeacherReport


def print_plan_rows(plan: ReplayPlan) -> None:
    rows = [
        {
            "teacher": each.name,
            "calls": each.call_count,
            "known": each.known_count,
            "expected $": f"{each.cost_usd.expected:.4f}",
            "at most $": f"{each.max_cost_usd:.4f}",
            "time": _duration(each.wall_clock_s),
        }
        for each in plan.teachers
    ]
    print_rows(rows, list(rows[0]) if rows else [], title=f"Replay {plan.replay}, nothing was sent")


def plan_text(plan: ReplayPlan) -> str:
    lines = [
        f"{plan.question_count} states of {plan.trace_count} traces, {plan.call_count} calls left, "
        f"about {_duration(plan.wall_clock_s)}",
        f"expected ${_dollars(plan.cost_usd)}; at most ${plan.max_cost_usd:.4f}",
        f"budget ${plan.budget_usd:.2f}: settled ${plan.settled_usd:.4f}, "
        f"unknown ${plan.unknown_usd:.4f}, left ${plan.budget_left_usd:.4f}",
    ]
    lines += [_of_teacher(each) for each in plan.teachers]
    return "\n".join([*lines, *(f"note: {note}" for note in plan.notes)])


def _of_teacher(each: TeacherPlan) -> str:
    parts = [
        f"prompts {_counts(each.prompt_tokens)} tokens, completions {_counts(each.completion_tokens)}",
        f"${_dollars(each.cost_usd)} by {each.price}",
        each.basis,
    ]
    if each.shortened_count:
        parts.append(f"{each.shortened_count} contexts cut to fit")
    if each.refused_count or each.unsent_count:
        parts.append(f"{each.refused_count + each.unsent_count} not asked")
    return f"{each.name} (tier {each.tier}): {'; '.join(parts)}"


def print_report_rows(report: ReplayReport) -> None:
    rows = [
        {
            "teacher": each.name,
            "answered": each.answered_count,
            "attempts": each.attempt_count,
            "settled $": f"{each.settled_usd:.6f}",
            "unknown $": f"{each.unknown_usd:.6f}",
            "left": each.left_count,
        }
        for each in report.teachers
    ]
    print_rows(rows, list(rows[0]) if rows else [], title=f"Replay {report.replay}")


def report_text(report: ReplayReport) -> str:
    lines = [
        f"{report.question_count} states: {report.answered_count} new answers, {report.known_count} known, "
        f"{report.refused_count + report.unsent_count} not asked",
        f"spent ${report.settled_usd:.6f} of ${report.budget_usd:.2f}, ${report.unknown_usd:.6f} unknown"
        + (f", {report.reconciled_count} reconciled" if report.reconciled_count else ""),
    ]
    lines += [_cache(each) for each in report.teachers if each.cached_token_count]
    lines += [_failures(each) for each in report.teachers if each.failures]
    lines += [_tier(each) for each in report.tiers]
    if report.left_count:
        lines.append(
            f"left: {report.left_count} answers, about ${report.left_expected_usd:.4f}, "
            f"at most ${report.left_max_usd:.4f}"
        )
    if report.stopped is not None:
        lines.append(f"stopped: {report.stopped}; {report.stop_detail}")
    return "\n".join(lines)


def _cache(each: TeacherReport) -> str:
    share = each.cached_token_count / each.prompt_token_count
    saved = f"${each.cache_saved_usd:.4f} saved by that"
    return f"{each.name}: {share:.1%} of its prompt tokens read from a cache, {saved}"


def _failures(each: TeacherReport) -> str:
    counts = ", ".join(f"{failure} {count}" for failure, count in sorted(each.failures.items()))
    stopped = "" if each.stopped is None else f"; stopped asking: {each.stopped}"
    return f"{each.name}: failed attempts: {counts}{stopped}"


def _tier(each: TierOutcome) -> str:
    share = each.missed_share
    missed = (
        "not measured" if share is None else f"{share:.1%} of {each.measured_state_count} measured states"
    )
    return (
        f"tier {each.tier}: asked at {each.asked_state_count} of {each.state_count} states, "
        f"{each.saved_call_count} calls and about ${each.saved_usd:.4f} saved; missed: {missed}"
    )


def _counts(interval: Interval) -> str:
    return f"{interval.expected:,.0f} ({interval.low:,.0f}–{interval.high:,.0f})"


def _dollars(interval: Interval) -> str:
    return f"{interval.expected:.4f} ({interval.low:.4f}–{interval.high:.4f})"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"
