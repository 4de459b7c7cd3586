"""What the tests of recording look at: the recorded rows, and their contexts and prompts folded back."""

from __future__ import annotations

import json
from typing import Any

from tests.producers.recording.openai_server import OpenAiServer
from tracelake.lake import Lake
from tracelake.schemas.context import CONTEXT_COLUMNS, ContextFold
from tracelake.schemas.tokens import TOKEN_COLUMNS, PromptFold


def rows(lake: Lake, kind: str) -> list[dict[str, Any]]:
    """Rows of a kind in the order in which they were written."""
    return lake.scan(kind, fresh=True).collect().sort("writer_epoch", "writer_seq").to_dicts()


def turns(lake: Lake) -> list[dict[str, Any]]:
    return rows(lake, "turn_completed")


def contexts(lake: Lake) -> list[list[dict[str, Any]]]:
    """Of each turn, the folded context."""
    found = turns(lake)
    fold = ContextFold(tuple(row[name] for name in CONTEXT_COLUMNS) for row in found)
    return [fold.context(row["rollout_id"], row["turn_index"]) for row in found]


def prompts(lake: Lake) -> list[list[int] | None]:
    """Of each turn, the folded token ids of its prompt."""
    found = turns(lake)
    fold = PromptFold(tuple(row[name] for name in TOKEN_COLUMNS) for row in found)
    whole = [fold.prompt(row["rollout_id"], row["turn_index"]).ids for row in found]
    return [None if ids is None else list(ids) for ids in whole]


def extra(row: dict[str, Any]) -> dict[str, Any]:
    return json.loads(row["extra_json"] or "{}")


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def options(server: OpenAiServer) -> dict[str, Any]:
    """Of a client of this server."""
    return {"base_url": server.base_url, "api_key": "none", "max_retries": 0}
