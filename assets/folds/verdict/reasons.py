"""Why a verdict is what it is, as sentences; the first one decides."""

from __future__ import annotations

from collections.abc import Iterator

from tracelake.assets.folds.verdict.model import Outcome, SliceResult, Verdict

FLOOR = 0.05
"""Means this close to the ends of the score's range leave an outcome little room to vary."""


def reasons(found: Verdict) -> Iterator[str]:
    yield _decision(found)
    yield from _slices(found.slices)
    yield _reach(found)
    if found.outcome in ("UNDERPOWERED", "PARTIAL") and found.achieved_power < found.spec.required_power:
        yield _needed(found)
    yield _compared(found)
    yield from _doubts(found)


def signed(value: float) -> str:
    """Three decimals with a sign, and more where three would show nothing."""
    return f"{value:+.3f}" if value == 0 or abs(value) >= 0.0005 else f"{value:+.1e}"


def counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _decision(found: Verdict) -> str:
    spec = found.spec
    effect = f"{spec.treatment_arm} - {spec.control_arm} is {signed(found.difference)}"
    interval = f"[{signed(found.interval_low)}, {signed(found.interval_high)}]"
    least = f"the minimum effect {signed(spec.minimum_effect)}"
    ceiling = "0" if found.interval_high < 0 else least
    sentences: dict[Outcome, str] = {
        "VALIDATED": f"{effect}, at least {least}, and its interval {interval} lies above 0.",
        "PARTIAL": f"{effect} with interval {interval}, and it does not hold alike everywhere.",
        "INVALIDATED": f"{effect}, and its interval {interval} lies below {ceiling}.",
        "UNDERPOWERED": f"{effect}, and its interval {interval} excludes neither no effect nor {least}.",
    }
    if found.outcome == "UNDERPOWERED" and found.interval_low > 0:
        return (
            f"{effect}: its interval {interval} lies above 0, but the effect is not shown to reach {least}."
        )
    if found.outcome == "UNDERPOWERED" and found.interval_high < spec.minimum_effect:
        return f"{effect}: its interval {interval} lies below {least}, but power is too low to say so."
    return sentences[found.outcome]


def _slices(slices: tuple[SliceResult, ...]) -> Iterator[str]:
    for finding, says in (
        ("validated", "It holds, after Holm's correction, for"),
        ("harmful", "It does harm to"),
    ):
        named = [f"{each.cluster} ({signed(each.difference)})" for each in slices if each.finding == finding]
        if named:
            yield f"{says} {', '.join(named)} of {len(slices)} slices."


def _reach(found: Verdict) -> str:
    spec = found.spec
    enough = "enough" if found.achieved_power >= spec.required_power else "not enough"
    return (
        f"Power at the minimum effect is {found.achieved_power:.2f}, {enough} for the required "
        f"{spec.required_power:.2f}; an effect of {found.minimum_detectable_effect:.3f} would be found with "
        "that power."
    )


def _needed(found: Verdict) -> str:
    on_seeds, on_tasks = f"on {counted(len(found.seeds), 'seed')}", f"on {counted(found.task_count, 'task')}"
    by_tasks, by_seeds = found.needed_task_count, found.needed_seed_count
    if by_tasks and by_seeds:
        return f"It would take about {by_tasks:,} tasks {on_seeds}, or {by_seeds:,} seeds {on_tasks}."
    if by_tasks:
        alone = "" if found.compares == "checkpoints" else f"; no number of seeds {on_tasks} would be enough"
        return f"It would take about {by_tasks:,} tasks {on_seeds} (now {found.task_count:,}){alone}."
    if by_seeds:
        takes = f"It would take about {by_seeds:,} seeds {on_tasks}"
        return f"{takes}; no number of tasks {on_seeds} would be enough."
    return (
        f"Neither more tasks {on_seeds} nor more seeds {on_tasks} would be enough: both would have to grow."
    )


def _compared(found: Verdict) -> str:
    seeds = ", ".join(map(str, found.seeds))
    if found.compares == "checkpoints":
        return f"One seed per arm ({seeds}): this compares two checkpoints, not two methods."
    return f"{len(found.seeds)} paired seeds ({seeds}): this compares two methods."


def _doubts(found: Verdict) -> Iterator[str]:
    spec = found.spec
    open_count = sum(arm.ungraded_count + arm.missing_count for arm in found.arms[:2])
    if open_count:
        yield (
            f"{open_count} scores are ungraded or missing; bounded by their worst and best, the difference "
            f"lies between {signed(found.worst_difference)} and {signed(found.best_difference)}."
        )
    if found.unpaired_seeds:
        yield f"Seeds of one arm only were left out: {', '.join(map(str, found.unpaired_seeds))}."
    if spec.resampling_unit == "cluster" and found.resampling_unit == "task":
        yield "There is one cluster only: tasks are the units, and the verdict speaks of this cluster alone."
    if found.effective_unit_count < 10:
        yield (
            f"Only {found.effective_unit_count:.1f} effective {found.resampling_unit}s carry the interval: "
            "it leans on the assumption that they are drawn alike."
        )
    room = FLOOR * (spec.score_max - spec.score_min)
    if all(arm.mean < spec.score_min + room or arm.mean > spec.score_max - room for arm in found.arms[:2]):
        yield "Both arms are close to an end of the score's range, where an effect has little room to show."
