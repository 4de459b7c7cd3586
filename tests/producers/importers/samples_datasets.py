"""Small datasets: TRL's logged completions, and chats in the shapes that are common."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    """Rows as Parquet, with the types that Arrow finds."""
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


def trl_rows() -> list[dict[str, Any]]:
    """Two completions of one prompt, one of them with a call."""
    prompt = [{"role": "user", "content": "What is 2 + 2?"}]
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 2, "b": 2}}}
    used = [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "name": "add", "content": "4"},
        {"role": "assistant", "content": "4"},
    ]
    row = {"step": 7, "prompt": prompt, "correct": 1.0, "short": 0.5, "advantage": 0.25}
    return [
        {**row, "completion": used},
        {**row, "completion": [{"role": "assistant", "content": "5"}], "correct": 0.0, "advantage": -0.25},
    ]


def chat_rows() -> list[dict[str, Any]]:
    """OpenAI's shape, as datasets of agents publish it."""
    call = {"id": "c1", "type": "function", "function": {"name": "bash", "arguments": "{}"}}
    return [
        {
            "trajectory_id": "t-1",
            "instance_id": "django__django-1",
            "model": "qwen3",
            "resolved": 1,
            "exit_status": "submit",
            "model_patch": "diff",
            "tools": [{"type": "function", "function": {"name": "bash", "parameters": {"type": "object"}}}],
            "messages": [
                {"role": "user", "content": "Fix it."},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c1", "content": "done"},
                {"role": "assistant", "content": "Fixed."},
            ],
        }
    ]


def sharegpt_rows() -> list[dict[str, Any]]:
    """The shape of `from` and `value`."""
    return [{"conversations": [{"from": "human", "value": "Hi."}, {"from": "gpt", "value": "Hello."}]}]
