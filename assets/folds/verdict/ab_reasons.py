"""The reasons of an A/B verdict, as sentences; the first one states the decision."""

from __future__ import annotations

from collections.abc import Iterator

from tracelake.assets.folds.verdict.ab_model import SliceResult, Verdict
from tracelake.assets.folds.verdict.verdict_base import VerdictOutcome, counted, signed

END_MARGIN = 0.05
"""Arms whose means are within this share of the score range from its ends can hardly differ."""
UNITS_MIN = 10
"""With fewer effective units, the interval depends on the assumption that they are a random sample."""


def reasons(verdict: Verdict) -> Iterator[str]:
    yield _decision(verdict)
    yield from _slices(verdict.slices)
    yield _power(verdict)
    lacks_power = verdict.achieved_power < verdict.spec.required_power
    if verdict.outcome in ("UNDERPOWERED", "PARTIAL") and lacks_power:
        yield _needed(verdict)
    yield _compared(verdict)
    yield from _doubts(verdict)


def _decision(verdict: Verdict) -> str:
    spec = verdict.spec
    effect = f"{spec.treatment_arm} - {spec.control_arm} is {signed(verdict.difference)}"
    interval = f"[{signed(verdict.interval_low)}, {signed(verdict.interval_high)}]"
    least = f"the minimum effect {signed(spec.minimum_effect)}"
    ceiling = "0" if verdict.interval_high < 0 else least
    sentences: dict[VerdictOutcome, str] = {
        "VALIDATED": f"{effect}, at least {least}, and its interval {interval} lies above 0.",
        "PARTIAL": f"{effect} with interval {interval}, and it differs between slices.",
        "INVALIDATED": f"{effect}, and its interval {interval} lies below {ceiling}.",
        "UNDERPOWERED": f"{effect}, and its interval {interval} excludes neither no effect nor {least}.",
    }
    if verdict.outcome == "UNDERPOWERED" and verdict.interval_low > 0:
        return (
            f"{effect}: its interval {interval} lies above 0, but the effect is not shown to reach {least}."
        )
    if verdict.outcome == "UNDERPOWERED" and verdict.interval_high < spec.minimum_effect:
        return f"{effect}: its interval {interval} lies below {least}, but power is too low to say so."
    return sentences[verdict.outcome]


def _slices(slices: tuple[SliceResult, ...]) -> Iterator[str]:
    for finding, opening in (
        ("validated", "It holds, after Holm's correction, for"),
        ("harmful", "It does harm to"),
    ):
        named = [f"{each.cluster} ({signed(each.difference)})" for each in slices if each.finding == finding]
        if named:
            yield f"{opening} {', '.join(named)} of {len(slices)} slices."


def _power(verdict: Verdict) -> str:
    spec = verdict.spec
    enough = "enough" if verdict.achieved_power >= spec.required_power else "not enough"
    return (
        f"Power at the minimum effect is {verdict.achieved_power:.2f}, {enough} for the required "
        f"{spec.required_power:.2f}; an effect of {verdict.minimum_detectable_effect:.3f} would be found "
        "with that power."
    )


def _needed(verdict: Verdict) -> str:
    on_seeds = f"on {counted(len(verdict.seeds), 'seed')}"
    on_tasks = f"on {counted(verdict.task_count, 'task')}"
    by_tasks, by_seeds = verdict.needed_task_count, verdict.needed_seed_count
    if by_tasks and by_seeds:
        return f"It would take about {by_tasks:,} tasks {on_seeds}, or {by_seeds:,} seeds {on_tasks}."
    if by_tasks:
        alone = (
            "" if verdict.compares == "checkpoints" else f"; no number of seeds {on_tasks} would be enough"
        )
        return f"It would take about {by_tasks:,} tasks {on_seeds} (now {verdict.task_count:,}){alone}."
    if by_seeds:
        takes = f"It would take about {by_seeds:,} seeds {on_tasks}"
        return f"{takes}; no number of tasks {on_seeds} would be enough."
    return f"Neither more tasks {on_seeds} nor more seeds {on_tasks} would be enough: it takes more of both."


def _compared(verdict: Verdict) -> str:
    seeds = ", ".join(map(str, verdict.seeds))
    if verdict.compares == "checkpoints":
        return f"One seed per arm ({seeds}): this compares two checkpoints, not two methods."
    return f"{len(verdict.seeds)} paired seeds ({seeds}): this compares two methods."


def _doubts(verdict: Verdict) -> Iterator[str]:
    spec = verdict.spec
    open_count = sum(arm.ungraded_count + arm.missing_count for arm in verdict.arms[:2])
    if open_count:
        yield (
            f"{open_count} scores are ungraded or missing; bounded by their worst and best, the difference "
            f"lies between {signed(verdict.worst_difference)} and {signed(verdict.best_difference)}."
        )
    if verdict.unpaired_seeds:
        yield f"Seeds of one arm only were left out: {', '.join(map(str, verdict.unpaired_seeds))}."
    if spec.resampling_unit == "cluster" and verdict.resampling_unit == "task":
        yield "There is only one cluster: tasks are the units, and the verdict is about this cluster alone."
    if verdict.effective_unit_count < UNITS_MIN:
        yield (
            f"The interval rests on only {verdict.effective_unit_count:.1f} effective "
            f"{verdict.resampling_unit}s: it assumes that they are a random sample."
        )
    margin = END_MARGIN * (spec.score_max - spec.score_min)
    if all(
        arm.mean < spec.score_min + margin or arm.mean > spec.score_max - margin for arm in verdict.arms[:2]
    ):
        yield "Both arms are close to an end of the score's range, where they can hardly differ."
