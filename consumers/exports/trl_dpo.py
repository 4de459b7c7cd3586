"""Target `trl-dpo`: preference pairs in the conversational format that TRL's DPOTrainer loads.

**One configuration per level of equivalence**: a state may have the same pair at several levels, and training
must read each once.

Source: `DPOTrainer._prepare_dataset` of TRL 1.16.0 reads `prompt`, `chosen`, `rejected` and `tools`, which is
JSON text.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from tracelake.consumers.exports.chat_columns import MESSAGES, action_of, messages_column, messages_of
from tracelake.consumers.exports.parquet_shards import ShardWriter
from tracelake.consumers.exports.pinned_pairs import levels, pair_batches
from tracelake.consumers.exports.target import Part, Target, Written
from tracelake.consumers.exports.teacher_terms import PAIR_TABLE, Terms
from tracelake.lake.pins.pins import OpenPin

_PLAIN = ("pair_id", "rule", "level", "task_key", "teacher", "teacher_side")
SCHEMA = pa.schema(
    [
        ("prompt", MESSAGES),
        ("chosen", MESSAGES),
        ("rejected", MESSAGES),
        ("tools", pa.string()),
        ("vote_margin", pa.float64()),
        *((name, pa.string()) for name in _PLAIN),
    ]
)
WITHOUT_PROMPT = "pairs whose state has no message, which no trainer can render"
USAGE = """```python
from datasets import load_dataset
from trl import DPOConfig, DPOTrainer

pairs = load_dataset("PATH_OF_THIS_FOLDER", split="train")
trainer = DPOTrainer("MODEL", args=DPOConfig(output_dir="OUT"), train_dataset=pairs)
```

`prompt`, `chosen` and `rejected` are lists of messages, with arguments of tool calls as objects; `tools` is
JSON text, which the trainer parses. The other columns are for filters, and the trainer ignores them. Each
configuration has the pairs of one level of equivalence of actions; most pairs are in several."""


def write(pin: OpenPin, terms: Terms, folder: Path) -> Written:
    left_out: Counter[str] = Counter()
    ids: set[str] = set()
    parts: list[Part] = []
    for level in levels(pin, terms):
        with ShardWriter(folder / level, SCHEMA) as shards:
            for rows in pair_batches(pin, terms, level):
                usable = [row for row in rows if messages_of(row["prompt_json"])]
                if len(usable) < len(rows):
                    left_out[WITHOUT_PROMPT] += len(rows) - len(usable)
                shards.write(_columns(row) for row in usable)
                ids.update(row["rollout_id"] for row in usable)
        meaning = f"one row per preference pair at level {level}"
        parts.append(Part(level, f"{level}/*.parquet", shards.row_count, meaning))
    return Written(tuple(parts), left_out, USAGE, is_dataset=True, rollout_ids=frozenset(ids))


def _columns(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "prompt": messages_column(messages_of(row["prompt_json"])),
        "chosen": messages_column([action_of(row["chosen_json"])]),
        "rejected": messages_column([action_of(row["rejected_json"])]),
        "tools": row["tools_json"],
        "vote_margin": row["vote_margin"],
        **{name: row[name] for name in _PLAIN},
    }


TARGET = Target("trl-dpo", (PAIR_TABLE,), write, has_teacher_answers=True)
