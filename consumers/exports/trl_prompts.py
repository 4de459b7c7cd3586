"""Target `trl-prompts`: the prompts of all tasks, in the format that TRL's GRPOTrainer loads.

**One row per task and opening state**: rollouts of one task that began with the same messages and tools share
their row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from tracelake.consumers.exports.chat_columns import MESSAGES, messages_column
from tracelake.consumers.exports.parquet_shards import ShardWriter
from tracelake.consumers.exports.pinned_rollouts import ROLLOUT_TABLES, Rollout, rollouts
from tracelake.consumers.exports.target import Part, Target, Written
from tracelake.consumers.exports.teacher_terms import Terms
from tracelake.consumers.exports.turn_rows import parsed
from tracelake.lake.pins.pins import OpenPin
from tracelake.schemas.canonical import canonical_text

SCHEMA = pa.schema(
    [
        ("prompt", MESSAGES),
        ("task_key", pa.string()),
        ("answer", pa.string()),
        ("tools", pa.string()),
        ("task_json", pa.string()),
        ("environment", pa.string()),
        ("state_key", pa.string()),
    ]
)
ANSWER_KEY = "answer"
WITHOUT_PROMPT = "rollouts without a turn or an opening message, which have no prompt"
USAGE = """```python
from datasets import load_dataset
from trl import GRPOConfig, GRPOTrainer

prompts = load_dataset("PATH_OF_THIS_FOLDER", split="train")
trainer = GRPOTrainer("MODEL", reward_funcs=reward, args=GRPOConfig(output_dir="OUT"), train_dataset=prompts)
```

`prompt` is a list of messages. The reward function gets the other columns by name: `answer` is the reference
answer where the task has one (text as it is, another value as JSON text), `task_json` all data of the task,
`tools` the tool definitions, both JSON text."""


def write(pin: OpenPin, terms: Terms, folder: Path) -> Written:
    left_out: Counter[str] = Counter()
    ids: set[str] = set()
    seen: set[tuple[str, str]] = set()
    with ShardWriter(folder / "prompts", SCHEMA) as shards:
        for rollout in rollouts(pin):
            rows = list(_openings(rollout))
            if not rows:
                left_out[WITHOUT_PROMPT] += 1
                continue
            ids.add(rollout.rollout_id)
            for row in rows:
                key = (row["task_key"], row["state_key"])
                if key not in seen:
                    seen.add(key)
                    shards.write([row])
    part = Part("prompts", "prompts/*.parquet", shards.row_count, "one row per task and opening state")
    return Written((part,), left_out, USAGE, is_dataset=True, rollout_ids=frozenset(ids))


def _openings(rollout: Rollout) -> Iterator[dict[str, Any]]:
    """The prompt of the first turn; none without messages."""
    for turn in rollout.turns[:1]:
        messages = rollout.new_messages(turn["turn_index"])
        if messages:
            yield {
                "prompt": messages_column(messages),
                "task_key": rollout.started["task_key"],
                "answer": _answer(parsed(rollout.started["task_json"])),
                "tools": rollout.started["tools_json"],
                "task_json": rollout.started["task_json"],
                "environment": rollout.started["environment"],
                "state_key": turn["state_key"],
            }


def _answer(task: Any) -> str | None:
    value = task.get(ANSWER_KEY) if isinstance(task, dict) else None
    return value if value is None or isinstance(value, str) else canonical_text(value)


TARGET = Target("trl-prompts", ROLLOUT_TABLES, write, has_teacher_answers=False)
