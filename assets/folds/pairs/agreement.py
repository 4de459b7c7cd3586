"""Agreement of teachers beyond chance.

Agreement is Krippendorff's: a state with m votes weighs m, and its m (m - 1) ordered pairs share that weight.
With the same number of votes at every state it is Fleiss' P. Chance is not estimated from the classes'
shares, because the possible actions differ from state to state.
**Expected agreement comes from permutation**: each teacher's votes are permuted over the states where it
called the same tool. It is the agreement of teachers who know which tool to call, and nothing more.
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

EVERY_TEACHER = "*"
AGREEMENT_SCHEMA: dict[str, pl.DataType] = {
    "level": pl.String(),
    "teacher_a": pl.String(),
    "teacher_b": pl.String(),
    "state_count": pl.Int64(),
    "observed_agreement": pl.Float64(),
    "expected_agreement": pl.Float64(),
    "kappa": pl.Float64(),
    "p_value": pl.Float64(),
    "permutation_count": pl.Int64(),
    "permutation_seed": pl.Int64(),
}
"""Both teachers are `*` in the row over all teachers. Kappa is (observed - expected) / (1 - expected), null
if expected agreement is 1."""


class _Ballots(NamedTuple):
    """S states, T teachers."""

    teachers: list[str]
    classes: NDArray[np.int64]
    """[S, T], -1 where there is no vote."""
    exchangeable: list[tuple[int, NDArray[np.int64]]]
    """(teacher, states at which it called one tool) for every teacher and tool."""


def teacher_agreement(
    votes: pl.DataFrame, *, permutation_count: int = 499, permutation_seed: int = 0
) -> pl.DataFrame:
    """Per level one row over all teachers, then one per pair of teachers; see `AGREEMENT_SCHEMA`.

    Only states with at least two votes count. `p_value` is the share of permutations with at least the
    observed agreement, counting the observation itself.
    """
    rows: list[tuple[object, ...]] = []
    for level in votes["level"].unique().sort():
        ballots = _ballots(votes.filter(pl.col("level") == level))
        if len(ballots.classes):
            level_rows = _level_rows(ballots, permutation_count, permutation_seed)
            rows += [(level, *row, permutation_count, permutation_seed) for row in level_rows]
    return pl.DataFrame(rows, schema=AGREEMENT_SCHEMA, orient="row")


def _ballots(votes: pl.DataFrame) -> _Ballots:
    shared = votes.filter(pl.len().over("state_key") > 1).sort("state_key", "author")
    states = shared["state_key"].rank("dense").to_numpy().astype(np.int64) - 1
    teachers = shared["author"].unique().sort().to_list()
    columns = shared["author"].rank("dense").to_numpy().astype(np.int64) - 1
    shape = (int(states.max()) + 1 if len(states) else 0, len(teachers))
    classes, tools = np.full(shape, -1, np.int64), np.full(shape, -1, np.int64)
    classes[states, columns] = shared["action_class"].rank("dense").to_numpy().astype(np.int64)
    tools[states, columns] = shared["tool"].rank("dense").to_numpy().astype(np.int64)
    exchangeable = [
        (column, np.flatnonzero(of_teacher == tool))
        for column, of_teacher in enumerate(tools.T)
        for tool in np.unique(of_teacher[of_teacher >= 0])
    ]
    return _Ballots(teachers, classes, exchangeable)


def _level_rows(ballots: _Ballots, permutation_count: int, seed: int) -> list[tuple[object, ...]]:
    generator = np.random.default_rng(seed)
    observed = _agreements(ballots.classes)
    chance = np.array([_agreements(_permuted(ballots, generator)) for _ in range(permutation_count)]).reshape(
        permutation_count, len(observed)
    )
    names = [(EVERY_TEACHER, EVERY_TEACHER), *combinations(ballots.teachers, 2)]
    shared_counts = [
        int(_both_voted(ballots.classes, a, b).sum())
        for a, b in combinations(range(len(ballots.teachers)), 2)
    ]
    state_counts = [len(ballots.classes), *shared_counts]
    return [
        (*pair, state_count, *_beyond_chance(observed[column], chance[:, column]))
        for column, (pair, state_count) in enumerate(zip(names, state_counts, strict=True))
        if state_count
    ]


def _beyond_chance(observed: float, chance: NDArray[np.float64]) -> tuple[float, float, float | None, float]:
    """Observed and expected agreement, kappa, p value."""
    expected = float(chance.mean())
    kappa = (observed - expected) / (1 - expected) if expected < 1 else None
    at_least = int((chance >= observed - 1e-12).sum())
    return float(observed), expected, kappa, (1 + at_least) / (1 + len(chance))


def _agreements(classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Agreement over all teachers, then of each pair; 0 for a pair that shares no state."""
    votes_per_state = (classes >= 0).sum(axis=1)
    weight = 2 / (votes_per_state - 1)
    total, pairs = 0.0, []
    for a, b in combinations(range(classes.shape[1]), 2):
        both = _both_voted(classes, a, b)
        agree = both & (classes[:, a] == classes[:, b])
        total += float((weight * agree).sum())
        pairs.append(agree.sum() / both.sum() if both.any() else 0.0)
    return np.array([total / votes_per_state.sum(), *pairs])


def _both_voted(classes: NDArray[np.int64], a: int, b: int) -> NDArray[np.bool_]:
    return (classes[:, a] >= 0) & (classes[:, b] >= 0)


def _permuted(ballots: _Ballots, generator: np.random.Generator) -> NDArray[np.int64]:
    """Each teacher's votes permuted among the states where it called the same tool."""
    permuted = ballots.classes.copy()
    for column, states in ballots.exchangeable:
        permuted[states, column] = ballots.classes[generator.permutation(states), column]
    return permuted
