"""Pinned pairs as training batches: the token table, the order of its rows, and tensors.

**The order is a function of the seed and of the number of consumed pairs**, so one integer resumes it. It has
its own random generator: the state of the global one decides the rollouts.
**Every micro-batch is full**: each pass over the table has its own permutation, and a batch may span two
passes.
**The action is never cut**: a context over the limit loses its oldest tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from tracelake.consumers.action_logits import RightAligned, right_align
from tracelake.consumers.auxiliary_losses import AuxiliaryLossConfig
from tracelake.schemas.errors import BadInputError, TrainingError

REFERENCE_COLUMNS = ("reference_chosen_logps", "reference_rejected_logps")

PAIR_SCHEMA = pa.schema(
    [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("prompt_ids", pa.list_(pa.int64()), nullable=False),
        pa.field("chosen_ids", pa.list_(pa.int64()), nullable=False),
        pa.field("rejected_ids", pa.list_(pa.int64()), nullable=False),
        pa.field("vote_margin", pa.float64()),
        pa.field(REFERENCE_COLUMNS[0], pa.float64()),
        pa.field(REFERENCE_COLUMNS[1], pa.float64()),
    ]
)
"""Token ids of the context and the two actions, vote margin in [0, 1], summed reference logprobs in nats."""

_GENERATOR_SEED_LIMIT = 2**63


class PairBatch(NamedTuple):
    """N pairs on one device."""

    pair_ids: tuple[str, ...]
    sequences: RightAligned
    """2N rows, the N chosen ones first."""
    reference_chosen_logps: torch.Tensor
    """(N,) float32, nats, summed over the action."""
    reference_rejected_logps: torch.Tensor
    """(N,) float32, nats, summed over the action."""
    weights: torch.Tensor
    """(N,) float32."""


class PairDataset:
    """A table of tokenised pairs in pinned order; columns as in `PAIR_SCHEMA`, others are dropped."""

    def __init__(self, table: pa.Table) -> None:
        self.table = _checked(table)

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]]) -> PairDataset:
        """The reference columns and the vote margin may be missing."""
        values = [{name: row.get(name) for name in PAIR_SCHEMA.names} for row in rows]
        return cls(pa.Table.from_pylist(values, schema=PAIR_SCHEMA))

    def __len__(self) -> int:
        return self.table.num_rows

    def rows(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """The rows at these positions, in this order; positions may repeat."""
        return self.table.take(pa.array(indices, pa.int64())).to_pylist()

    @property
    def pair_ids_digest(self) -> str:
        """SHA-256 over the pair ids in order."""
        ids = self.table["pair_id"].to_pylist()
        return hashlib.sha256("\x00".join(ids).encode()).hexdigest()

    def with_reference(self, chosen_logps: Sequence[float], rejected_logps: Sequence[float]) -> PairDataset:
        """A copy with these reference log-probabilities, in table order."""
        table = self.table
        for name, values in zip(REFERENCE_COLUMNS, (chosen_logps, rejected_logps), strict=True):
            position = table.schema.get_field_index(name)
            table = table.set_column(position, PAIR_SCHEMA.field(name), pa.array(values, pa.float64()))
        return PairDataset(table)

    def check_trainable(self, config: AuxiliaryLossConfig) -> None:
        """Raise TrainingError unless each pair has every value that the loss of `config` reads."""
        margin = ("vote_margin",) if config.pair_vote_margin_weights else ()
        for name in (*REFERENCE_COLUMNS, *margin):
            missing_count = int((~np.isfinite(self.table[name].to_numpy())).sum())
            if missing_count:
                is_reference = name in REFERENCE_COLUMNS
                raise TrainingError(
                    f"pair column {name} is not complete",
                    got=f"{missing_count} of {len(self)} rows without",
                    expected="a finite number in each row",
                    cure="Run reference_logprobs first."
                    if is_reference
                    else "Set pair_vote_margin_weights to false, or derive the margin.",
                )


class PairCursor:
    """Position of a run in the endless order of pairs; every process has the same and takes its own slice."""

    def __init__(
        self,
        pairs: PairDataset,
        config: AuxiliaryLossConfig,
        *,
        process_index: int = 0,
        process_count: int = 1,
    ) -> None:
        self.consumed_count = 0
        self._pair_count = len(pairs)
        self._digest = pairs.pair_ids_digest
        self._batch_size = config.pairs_per_micro_batch
        self._seed = config.pair_seed
        self._process_index = process_index
        self._process_count = process_count
        self._cached: tuple[int, list[int]] = (-1, [])

    @property
    def pass_count(self) -> float:
        """Passes over the table so far, fractions included."""
        return self.consumed_count / self._pair_count

    def next_indices(self) -> list[int]:
        """Table positions of this process's next micro-batch."""
        start = self.consumed_count + self._process_index * self._batch_size
        self.consumed_count += self._process_count * self._batch_size
        return [self._index_at(position) for position in range(start, start + self._batch_size)]

    def state_dict(self) -> dict[str, int | str]:
        """JSON values; digest and seed are compared at resume."""
        return {"consumed_count": self.consumed_count, "seed": self._seed, "pair_ids_digest": self._digest}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises TrainingError for a state of other pairs or another seed."""
        for name, own in (("pair_ids_digest", self._digest), ("seed", self._seed)):
            if state[name] != own:
                raise TrainingError(
                    f"the checkpoint's pair order has another {name}",
                    got=state[name],
                    expected=str(own),
                    cure="Resume with the pin and the pair_seed of the run.",
                )
        self.consumed_count = int(state["consumed_count"])

    def _index_at(self, position: int) -> int:
        pass_index, offset = divmod(position, self._pair_count)
        if self._cached[0] != pass_index:
            generator = torch.Generator()
            generator.manual_seed((self._seed * 1_000_003 + pass_index) % _GENERATOR_SEED_LIMIT)
            order = torch.randperm(self._pair_count, generator=generator).tolist()
            self._cached = (pass_index, order)
        return self._cached[1][offset]


def collate_pairs(
    rows: Sequence[Mapping[str, Any]], config: AuxiliaryLossConfig, device: torch.device | str = "cpu"
) -> PairBatch:
    """Tensors of some rows of a pair table; a null reference log-probability becomes NaN."""
    limit = config.pair_prompt_token_limit
    prompts = [row["prompt_ids"] if limit is None else row["prompt_ids"][-limit:] for row in rows]
    actions = [row["chosen_ids"] for row in rows] + [row["rejected_ids"] for row in rows]

    def vectors(lists: Iterable[Sequence[int]]) -> list[torch.Tensor]:
        return [torch.tensor(ids, dtype=torch.int64, device=device) for ids in lists]

    def scalars(values: Iterable[float | None]) -> torch.Tensor:
        filled = [float("nan") if value is None else value for value in values]
        return torch.tensor(filled, dtype=torch.float32, device=device)

    weighted = config.pair_vote_margin_weights
    return PairBatch(
        pair_ids=tuple(row["pair_id"] for row in rows),
        sequences=right_align(vectors(prompts * 2), vectors(actions)),
        reference_chosen_logps=scalars(row[REFERENCE_COLUMNS[0]] for row in rows),
        reference_rejected_logps=scalars(row[REFERENCE_COLUMNS[1]] for row in rows),
        weights=scalars(row["vote_margin"] if weighted else 1.0 for row in rows),
    )


def _checked(table: pa.Table) -> pa.Table:
    required = [field.name for field in PAIR_SCHEMA if not field.nullable]
    missing = [name for name in required if name not in table.column_names]
    if missing:
        raise BadInputError("a pair table lacks columns", got=missing, expected=", ".join(required))
    columns = [
        table[field.name].cast(field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in PAIR_SCHEMA
    ]
    known = pa.table(columns, names=PAIR_SCHEMA.names).combine_chunks()
    if not known.num_rows:
        raise BadInputError("a pair table is empty", expected="one pair at least")
    for name in required[1:]:
        lengths = known[name].combine_chunks().value_lengths()
        if lengths.null_count or 0 in lengths.unique().to_pylist():
            raise BadInputError(f"a pair has no tokens in {name}", expected="one token at least in each row")
    distinct = len(known["pair_id"].unique())
    if known["pair_id"].null_count or distinct != known.num_rows:
        raise BadInputError("pair ids are not unique", got=f"{distinct} ids in {known.num_rows} rows")
    return known
