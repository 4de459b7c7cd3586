"""Pinned training rows as token ids of the policy's chat template.

**Every action is rendered through the student's own template**, whichever model it came from. A pair is
refused unless the ids of its context are a prefix of the ids of the context with the action.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from transformers import PreTrainedTokenizerBase

from tracelake.consumers.pairs.pair_batches import PairDataset
from tracelake.consumers.plain_message import plain_message
from tracelake.schemas.errors import TrainingError
from tracelake.schemas.message import Message


def pair_dataset(
    rows: Iterable[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase, *, shuffled_by: int | None = None
) -> PairDataset:
    """Tokenise rows of `training_rows`. With the seed `shuffled_by`, a coin flip per pair reverses its
    orientation: the control arm.
    """
    return PairDataset.from_rows(_tokens(row, tokenizer, shuffled_by) for row in rows)


def template_ids(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]],
    *,
    answer_next: bool,
) -> list[int]:
    text = tokenizer.apply_chat_template(
        [plain_message(message) for message in messages],
        tools=[dict(tool) for tool in tools] or None,
        add_generation_prompt=answer_next,
        tokenize=False,
    )
    return list(tokenizer(str(text), add_special_tokens=False)["input_ids"])


def _tokens(
    row: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, shuffled_by: int | None
) -> dict[str, Any]:
    prompt = orjson.loads(row["prompt_json"])
    tools = orjson.loads(row["tools_json"]) if row["tools_json"] else []
    prompt_ids = template_ids(tokenizer, prompt, tools, answer_next=True)
    actions = [
        _action_ids(tokenizer, prompt, tools, prompt_ids, orjson.loads(row[name]), row["pair_id"])
        for name in ("chosen_json", "rejected_json")
    ]
    if shuffled_by is not None and hashlib.sha256(f"{shuffled_by}:{row['pair_id']}".encode()).digest()[0] & 1:
        actions.reverse()
    return {
        "pair_id": row["pair_id"],
        "prompt_ids": prompt_ids,
        "chosen_ids": actions[0],
        "rejected_ids": actions[1],
        "vote_margin": row["vote_margin"],
    }


def _action_ids(
    tokenizer: PreTrainedTokenizerBase,
    prompt: Sequence[Message],
    tools: Sequence[Mapping[str, Any]],
    prompt_ids: list[int],
    action: Message,
    pair_id: str,
) -> list[int]:
    whole = template_ids(tokenizer, [*prompt, {**action, "role": "assistant"}], tools, answer_next=False)
    if whole[: len(prompt_ids)] != prompt_ids or len(whole) == len(prompt_ids):
        raise TrainingError(
            f"the chat template does not continue the context of pair {pair_id}",
            got=f"{len(whole)} ids, {len(prompt_ids)} of context",
            expected="a template that renders a longer conversation as a continuation of the shorter one",
        )
    return whole[len(prompt_ids) :]
