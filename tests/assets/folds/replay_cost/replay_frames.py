"""Replays by hand: attempts at the answers of teachers to every turn of some traces, as frames."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import polars as pl

from tracelake.assets.folds.replay_cost.cost_model import CostSpec
from tracelake.assets.folds.replay_cost.cost_verdict import ReplayEvents
from tracelake.schemas.events.columns import arrow_schema, payload_columns
from tracelake.schemas.events.event import Event
from tracelake.schemas.events.kinds import class_of_kind
from tracelake.schemas.events.teacher_events import (
    TeacherAnswered,
    TeacherCallReserved,
    TeacherCallSettled,
    TeacherFailed,
)
from tracelake.schemas.experiments.cost_experiment import CostRule, CostThresholds

CLAIMED = ("opus", "gpt", "deepseek")
TURNS = 4
MICRO = 1_000_000


class Call(NamedTuple):
    """One attempt. Null dollars: reserved, and never settled."""

    trace: str
    turn: int
    teacher: str
    usd: float | None = 0.25
    max_usd: float = 1.0
    seconds: float | None = 5.0
    source: str = "provider"
    failure: str | None = None
    attempt: int = 0
    prompt: int = 100
    cached: int = 80


def spec(**thresholds: Any) -> CostSpec:
    limits = {"dollars_per_trace_max": 5.0, "seconds_per_turn_max": 30.0, "traces_min": 5} | thresholds
    return CostSpec(
        experiment_id="x1",
        title="A trace costs less than $5",
        scale="hand-made",
        teachers=CLAIMED,
        turn_count_min=TURNS,
        thresholds=CostThresholds.model_validate(limits),
        rule=CostRule(resample_count=200),
    )


def calls(
    traces: int = 6, teachers: Iterable[str] = CLAIMED, turns: int = TURNS, **fields: Any
) -> list[Call]:
    """Every teacher at every turn. Traces differ a little in cost and speed."""
    usd, seconds = fields.pop("usd", 0.25), fields.pop("seconds", 5.0)
    return [
        Call(
            f"r{trace}",
            turn,
            teacher,
            usd=None if usd is None else round(usd * (1 + trace / 50), 6),
            seconds=seconds * (1 + trace / 50),
            **fields,
        )
        for trace in range(traces)
        for turn in range(turns)
        for teacher in teachers
    ]


def replay(attempts: Iterable[Call], turns: int = TURNS) -> ReplayEvents:
    """Events of these attempts, and `turns` turns of each trace."""
    attempts = list(attempts)
    events = [event for call in attempts for event in _events(call)]
    rows = [
        {"rollout_id": trace, "turn_index": turn, "state_key": f"{trace}/{turn}"}
        for trace in sorted({call.trace for call in attempts})
        for turn in range(turns)
    ]
    return ReplayEvents(
        pl.DataFrame(rows),
        frame(TeacherCallReserved.KIND, events),
        frame(TeacherCallSettled.KIND, events),
        frame(TeacherAnswered.KIND, events),
        frame(TeacherFailed.KIND, events),
    )


def frame(kind: str, events: Iterable[Event]) -> pl.DataFrame:
    columns = [name for name in payload_columns(class_of_kind(kind)) if name != "source_position"]
    empty = pl.DataFrame(pl.from_arrow(arrow_schema(kind).empty_table())).select(columns)
    rows = [event.model_dump(include=set(columns)) for event in events if kind == event.KIND]
    return pl.DataFrame(rows, schema=empty.schema)


def _events(call: Call) -> list[Event]:
    question = f"{call.trace}/{call.turn}/{call.teacher}"
    named = {
        "request_key": question,
        "state_key": f"{call.trace}/{call.turn}",
        "teacher": call.teacher,
        "rollout_id": call.trace,
        "turn_index": call.turn,
        "attempt_id": f"{question}/{call.attempt}",
    }
    latency = None if call.seconds is None else call.seconds * 1000
    reserved = TeacherCallReserved.model_validate(
        named
        | {
            "replay_id": "x1",
            "attempt_index": call.attempt,
            "max_cost_microusd": round(call.max_usd * MICRO),
        }
    )
    ended: Event = (
        TeacherAnswered.model_validate(
            named
            | {
                "origin": "asked",
                "action_json": "{}",
                "model_served": f"{call.teacher}-served",
                "provider": "house",
                "prompt_token_count": call.prompt,
                "cached_token_count": call.cached,
                "completion_token_count": 10,
                "latency_ms": latency,
            }
        )
        if call.failure is None
        else TeacherFailed.model_validate(
            named | {"attempt_index": call.attempt, "failure": call.failure, "latency_ms": latency}
        )
    )
    if call.usd is None:
        return [reserved, ended]
    settled = {
        "attempt_id": f"{question}/{call.attempt}",
        "cost_microusd": round(call.usd * MICRO),
        "cost_source": call.source,
    }
    return [reserved, ended, TeacherCallSettled.model_validate(settled)]
