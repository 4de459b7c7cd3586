"""Goal: every attempt is counted once, and unknown cost is not mixed with paid cost."""

from __future__ import annotations

from typing import Any

import polars as pl

from tracelake.assets.folds.replay_cost.spend import teacher_spend
from tracelake.schemas.events.columns import arrow_schema
from tracelake.schemas.events.event import Event
from tracelake.schemas.events.teacher_events import (
    TeacherAnswered,
    TeacherCallReserved,
    TeacherCallSettled,
    TeacherFailed,
)


def frame(kind: str, events: list[Event]) -> pl.DataFrame:
    columns = [name for name in type_of(kind).model_fields if name not in ("kind", "source_position")]
    empty = pl.DataFrame(pl.from_arrow(arrow_schema(kind).empty_table())).select(columns)
    return pl.DataFrame([event.model_dump(include=set(columns)) for event in events], schema=empty.schema)


def type_of(kind: str) -> type[Event]:
    return {
        cls.KIND: cls for cls in (TeacherAnswered, TeacherFailed, TeacherCallReserved, TeacherCallSettled)
    }[kind]


def reserved(attempt: str, **fields: Any) -> TeacherCallReserved:
    return TeacherCallReserved(
        **(
            {
                "attempt_id": attempt,
                "replay_id": "replay",
                "request_key": attempt,
                "attempt_index": 0,
                "state_key": "s",
                "teacher": "opus",
                "rollout_id": "r1",
                "turn_index": 0,
                "max_cost_microusd": 1000,
            }
            | fields
        )
    )


def settled(attempt: str, cost: int, source: str) -> TeacherCallSettled:
    return TeacherCallSettled.model_validate(
        {"attempt_id": attempt, "cost_microusd": cost, "cost_source": source}
    )


def answered(attempt: str) -> TeacherAnswered:
    return TeacherAnswered(
        request_key=attempt,
        state_key="s",
        teacher="opus",
        origin="asked",
        action_json="{}",
        attempt_id=attempt,
    )


def failed(attempt: str | None) -> TeacherFailed:
    return TeacherFailed(
        request_key="k", attempt_index=0, state_key="s", teacher="opus", failure="timeout", attempt_id=attempt
    )


def spend(
    reservations: list[Event], settlements: list[Event], answers: list[Event], failures: list[Event]
) -> list[dict[str, Any]]:
    return teacher_spend(
        frame("teacher_call_reserved", reservations),
        frame("teacher_call_settled", settlements),
        frame("teacher_answered", answers),
        frame("teacher_failed", failures),
    ).to_dicts()


def test_settled_and_unknown_money_stand_apart() -> None:
    [row] = spend(
        [reserved(name) for name in ("paid", "listed", "dead", "silent", "refused")],
        [
            settled("paid", 40, "provider"),
            settled("listed", 2, "price_table"),
            settled("silent", 1000, "maximum"),
            settled("refused", 0, "unbilled"),
        ],
        [answered("paid"), answered("listed")],
        [failed("silent"), failed("refused"), failed(None)],
    )
    assert row == {
        "replay_id": "replay",
        "teacher": "opus",
        "rollout_id": "r1",
        "arm": "",
        "attempt_count": 5,
        "answered_count": 2,
        "failed_count": 2,
        "settled_microusd": 42,
        "stated_microusd": 40,
        "unknown_count": 2,
        "unknown_microusd": 2000,
    }


def test_a_reconciled_cost_counts_instead_of_the_maximum() -> None:
    [row] = spend([reserved("a")], [settled("a", 1000, "maximum"), settled("a", 7, "reconciled")], [], [])
    assert (row["settled_microusd"], row["unknown_count"], row["unknown_microusd"]) == (7, 0, 0)


def test_replay_teacher_trace_and_arm_have_rows_of_their_own() -> None:
    rows = spend(
        [
            reserved("a"),
            reserved("b", replay_id="other"),
            reserved("c", teacher="gpt"),
            reserved("d", rollout_id="r2"),
            reserved("e", arm="B"),
            reserved("f", arm="B"),
        ],
        [settled(name, 10, "provider") for name in "abcdef"],
        [],
        [],
    )
    assert [row["settled_microusd"] for row in rows] == [10, 10, 10, 20, 10]
    assert sum(row["attempt_count"] for row in rows) == 6


def test_nothing_was_asked() -> None:
    assert spend([], [], [], []) == []
