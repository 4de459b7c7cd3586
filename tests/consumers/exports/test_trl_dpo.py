"""From a lake to one update of TRL's DPOTrainer, by files alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import datasets
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer

from tests.consumers.exports.export_lake import CLOSED_TEACHER, OPEN_TEACHER
from tracelake.consumers.exports.export import export
from tracelake.lake import Lake

TEMPLATE = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}"
    "{% for call in message.tool_calls or [] %}{{ call.function.name }} {{ call.function.arguments.command }}"
    "{% endfor %}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def load(folder: Path, level: str | None = None) -> datasets.Dataset:
    return datasets.load_dataset(str(folder), level, split="train", cache_dir=str(folder.parent / "cache"))


def test_messages_are_lists_of_objects_with_parsed_arguments(lake: Lake, tmp_path: Path) -> None:
    export(lake, "pairs", "trl-dpo", tmp_path / "out")
    row = load(tmp_path / "out")[0]
    assert row["prompt"] == [{"role": "user", "content": "q1"}]
    assert row["chosen"][0]["tool_calls"][0]["function"] == {
        "name": "bash",
        "arguments": {"command": "cat x"},
    }
    assert row["rejected"][0]["tool_calls"][0]["function"]["arguments"] == {"command": "ls"}
    assert row["teacher"] == OPEN_TEACHER
    assert row["tools"] is None


def test_each_level_is_a_configuration_so_that_no_pair_is_read_twice(lake: Lake, tmp_path: Path) -> None:
    report = export(lake, "pairs", "trl-dpo", tmp_path / "out")
    assert report.rows == {"L1": 1, "L0": 1}
    assert load(tmp_path / "out")["level"] == ["L1"]
    assert load(tmp_path / "out", "L0")["level"] == ["L0"]


def test_one_update_of_a_tiny_model(
    lake: Lake,
    tmp_path: Path,
    tokenizer: PreTrainedTokenizerFast,
    new_policy: Callable[[int], LlamaForCausalLM],
) -> None:
    names = [CLOSED_TEACHER, "teacher-c"]
    export(lake, "pairs", "trl-dpo", tmp_path / "out", include_withheld=names)
    pairs = load(tmp_path / "out")
    assert sorted(pairs["teacher"]) == sorted([OPEN_TEACHER, *names])
    with_template = copy.deepcopy(tokenizer)
    with_template.chat_template = TEMPLATE
    model = new_policy(5)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    arguments = DPOConfig(
        output_dir=str(tmp_path / "run"),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
        max_steps=1,
        per_device_train_batch_size=3,
        learning_rate=1e-2,
    )
    trainer = DPOTrainer(
        model, new_policy(5), args=arguments, train_dataset=pairs, processing_class=with_template
    )
    loss = trainer.train().training_loss
    assert 0.0 < loss < 10.0
    after = list(trainer.model.parameters())
    assert any(not torch.equal(one, other) for one, other in zip(before, after, strict=True))
