"""Target `hf`: a Hugging Face dataset with one configuration per kind of row.

**Messages, tools and arguments are columns of JSON text** (`…_json`): nested columns would have another type
in each file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa

from tracelake.consumers.exports.parquet_shards import ShardWriter
from tracelake.consumers.exports.pinned_pairs import pair_batches
from tracelake.consumers.exports.pinned_rollouts import ROLLOUT_TABLES, rollouts
from tracelake.consumers.exports.pinned_tables import check_tables, is_pinned
from tracelake.consumers.exports.target import Part, Target, Written
from tracelake.consumers.exports.teacher_terms import PAIR_TABLE, Terms
from tracelake.consumers.exports.turn_rows import trajectory_row, turn_row
from tracelake.lake.pins.pins import OpenPin
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.errors import PinMissingError

MEANINGS = {
    "turns": "one row per turn: state, action, tool results, reward",
    "trajectories": "one row per rollout: conversation, rewards, end",
    "pairs": "one row per preference pair: prompt, chosen, rejected",
}
USAGE = """```python
import json
from datasets import load_dataset

rows = load_dataset("PATH_OF_THIS_FOLDER", "CONFIGURATION", split="train")
```

Columns that end in `_json` are JSON text: `json.loads(rows[0]["state_json"])`. They are text because tools
have different arguments. A state may have pairs of several levels of equivalence: filter `pairs` by
`level`."""

_TEXT, _INT, _FLOAT, _FLAG = pa.string(), pa.int64(), pa.float64(), pa.bool_()
_TYPES: dict[str, dict[str, pa.DataType]] = {
    "turns": {
        "rollout_id": _TEXT,
        "turn_index": _INT,
        "parent_turn_index": _INT,
        "task_key": _TEXT,
        "environment": _TEXT,
        "substrate": _TEXT,
        "model": _TEXT,
        "tools_json": _TEXT,
        "state_key": _TEXT,
        "state_json": _TEXT,
        "action_json": _TEXT,
        "tool_results_json": _TEXT,
        "reward": _FLOAT,
        "turn_rewards_json": _TEXT,
        "model_requested": _TEXT,
        "model_served": _TEXT,
        "finish_reason": _TEXT,
        "truncated": _FLAG,
        "prompt_token_count": _INT,
        "cached_token_count": _INT,
        "completion_token_count": _INT,
        "reasoning_token_count": _INT,
        "cost_usd": _FLOAT,
        "latency_ms": _FLOAT,
        "logprob_source": _TEXT,
        "policy_version_start": _INT,
        "policy_version_end": _INT,
        "prompt_ids": pa.list_(pa.int32()),
        "completion_ids": pa.list_(pa.int32()),
        "completion_mask": pa.list_(pa.bool_()),
        "sampling_logprobs": pa.list_(pa.float32()),
        "extra_json": _TEXT,
    },
    "trajectories": {
        "rollout_id": _TEXT,
        "task_key": _TEXT,
        "environment": _TEXT,
        "substrate": _TEXT,
        "source_run": _TEXT,
        "group_id": _TEXT,
        "trial_index": _INT,
        "model": _TEXT,
        "turn_count": _INT,
        "tool_call_count": _INT,
        "tool_error_count": _INT,
        "prompt_token_count": _INT,
        "completion_token_count": _INT,
        "cost_usd": _FLOAT,
        "reward": _FLOAT,
        "grader": _TEXT,
        "stop_reason": _TEXT,
        "exit_status": _TEXT,
        "truncated": _FLAG,
        "truncated_by": _TEXT,
        "duration_ms": _FLOAT,
        "rewards_json": _TEXT,
        "tools_json": _TEXT,
        "task_json": _TEXT,
        "config_json": _TEXT,
        "messages_json": _TEXT,
        "error": _TEXT,
        "submission": _TEXT,
        "metrics_json": _TEXT,
        "extra_json": _TEXT,
    },
    "pairs": {
        "pair_id": _TEXT,
        "rule": _TEXT,
        "level": _TEXT,
        "state_key": _TEXT,
        "task_key": _TEXT,
        "rollout_id": _TEXT,
        "turn_index": _INT,
        "prompt_json": _TEXT,
        "chosen_json": _TEXT,
        "rejected_json": _TEXT,
        "tools_json": _TEXT,
        "vote_margin": _FLOAT,
        "student": _TEXT,
        "teacher_side": _TEXT,
        "teacher": _TEXT,
        "teacher_model": _TEXT,
        "teacher_origin": _TEXT,
        "license": _TEXT,
        "distillable": _FLAG,
    },
}
SCHEMAS = {name: pa.schema(list(types.items())) for name, types in _TYPES.items()}


def write(pin: OpenPin, terms: Terms, folder: Path) -> Written:
    """Turns and trajectories where the pin has rollouts, pairs where it has training rows. Raises
    PinMissingError for a pin with neither."""
    has_pairs, has_rollouts = is_pinned(pin, PAIR_TABLE), is_pinned(pin, "trajectories")
    if not has_pairs and not has_rollouts:
        raise PinMissingError(
            f"pin {pin.pin.reference} has neither rollouts nor pairs",
            got=f"tables {', '.join(pin.pin.tables)}",
            expected=f"{', '.join(ROLLOUT_TABLES)}; or {PAIR_TABLE}",
            cure=f"Run `tracelake pin {pin.pin.name}`, with `--table` for each of these tables.",
        )
    parts: list[Part] = []
    ids: set[str] = set()
    if has_rollouts:
        check_tables(pin, TARGET.name, ROLLOUT_TABLES)
        parts += _write_rollouts(pin, folder, ids)
    if has_pairs:
        with ShardWriter(folder / "pairs", SCHEMAS["pairs"]) as shards:
            for rows in pair_batches(pin, terms):
                shards.write(rows)
                ids.update(row["rollout_id"] for row in rows)
        parts.append(_part("pairs", shards.row_count))
    return Written(tuple(parts), Counter(), USAGE, is_dataset=True, rollout_ids=frozenset(ids))


def _write_rollouts(pin: OpenPin, folder: Path, ids: set[str]) -> list[Part]:
    with ExitStack() as stack:
        turns = stack.enter_context(ShardWriter(folder / "turns", SCHEMAS["turns"]))
        trajectories = stack.enter_context(ShardWriter(folder / "trajectories", SCHEMAS["trajectories"]))
        for rollout in rollouts(pin):
            turns.write(flat("turns", turn_row(rollout, turn)) for turn in rollout.turns)
            trajectories.write([flat("trajectories", trajectory_row(rollout))])
            ids.add(rollout.rollout_id)
    return [_part("turns", turns.row_count), _part("trajectories", trajectories.row_count)]


def flat(part: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with each nested value as JSON text under `NAME_json`."""
    columns: dict[str, Any] = {}
    for name in SCHEMAS[part].names:
        value = row[name.removesuffix("_json")] if name not in row else row[name]
        columns[name] = canonical_text(value) if name.endswith("_json") and value is not None else value
    return columns


def _part(name: str, row_count: int) -> Part:
    return Part(name, f"{name}/*.parquet", row_count, MEANINGS[name])


TARGET = Target("hf", (), write, has_teacher_answers=True)
