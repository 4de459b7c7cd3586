"""Goal: rollouts of several models that reached the same state give answers of those models."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelake.producers.harvest import harvest
from tracelake.schemas.errors import BadInputError


def turns(*rows: tuple[str, str | None, str]) -> pl.DataFrame:
    """Rows of (state, model, action); event and rollout ids depend on the row and its position."""
    seen: dict[tuple[str, str | None, str], int] = {}
    result = []
    for state, model, action in rows:
        copy = seen[state, model, action] = seen.get((state, model, action), 0) + 1
        name = f"{state}/{model}/{action}/{copy}"
        result.append((f"rollout {name}", 2, state, f"event {name}", model, action))
    columns = ["rollout_id", "turn_index", "state_key", "event_id", "model", "action_json"]
    return pl.DataFrame(result, columns, orient="row")


def harvested(frame: pl.DataFrame) -> list[tuple[str, str, str]]:
    return [(answer.state_key, answer.teacher, answer.action_json) for answer in harvest(frame)]


def test_a_state_of_two_models_gives_the_action_of_every_rollout():
    frame = turns(("s", "b", "2"), ("s", "a", "1"), ("s", "a", "3"), ("alone", "a", "4"))
    assert harvested(frame) == [("s", "a", "1"), ("s", "a", "3"), ("s", "b", "2")]


def test_an_answer_names_its_source():
    answer = harvest(turns(("s", "a", "1"), ("s", "b", "2")))[0]
    assert (answer.origin, answer.sample_index, answer.turn_index) == ("harvested", 0, 2)
    assert answer.source_event_id == "event s/a/1/1"
    assert answer.rollout_id == "rollout s/a/1/1"
    assert answer.cost_usd is None


def test_one_model_under_two_spellings_is_one_model():
    assert harvested(turns(("s", "Qwen/Qwen3", "1"), ("s", "qwen/qwen3", "2"))) == []


def test_a_turn_without_a_model_is_ignored():
    assert harvested(turns(("s", None, "1"), ("s", "", "2"), ("s", "a", "3"))) == []


def test_missing_columns_are_named():
    with pytest.raises(BadInputError, match="no model"):
        harvest(turns(("s", "a", "1")).drop("model"))


ROWS = st.lists(
    st.tuples(st.sampled_from("st"), st.sampled_from(["a", "b", "B", None]), st.sampled_from("12"))
)


@given(rows=ROWS, order=st.randoms(use_true_random=False))
def test_the_order_of_the_turns_does_not_matter(rows: list, order):
    frame = turns(*rows)
    places = list(range(frame.height))
    order.shuffle(places)
    assert harvest(frame) == harvest(frame[places]) == harvest(frame[places].to_arrow())


@given(rows=ROWS, more=ROWS)
def test_harvesting_again_after_more_turns_repeats_earlier_answers(rows: list, more: list):
    earlier = {answer.request_key: answer for answer in harvest(turns(*rows))}
    later = {answer.request_key: answer for answer in harvest(turns(*rows, *more))}
    assert earlier.items() <= later.items()


@given(rows=ROWS)
def test_every_answered_state_has_two_models(rows: list):
    models: dict[str, set[str]] = {}
    for answer in harvest(turns(*rows)):
        models.setdefault(answer.state_key, set()).add(answer.teacher.lower())
    assert all(len(found) >= 2 for found in models.values())
