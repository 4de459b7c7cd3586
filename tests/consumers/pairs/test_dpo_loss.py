"""The pair loss is DPOTrainer's, value and gradient; the pair order is seeded, endless and resumable."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from trl import DPOConfig, DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from tracelake.consumers.auxiliary_losses import AuxiliaryLossConfig
from tracelake.consumers.pairs.dpo_loss import pair_terms, reference_logprobs
from tracelake.consumers.pairs.pair_batches import PAIR_SCHEMA, PairCursor, PairDataset, collate_pairs
from tracelake.schemas.errors import BadInputError, TrainingError

UNWEIGHTED = AuxiliaryLossConfig(pair_weight=1.0, pair_vote_margin_weights=False, pair_sft_weight=0.0)


@pytest.fixture
def new_oracle(new_policy, tokenizer, tmp_path) -> Callable[..., DPOTrainer]:
    """A real DPOTrainer, its policy of seed 1 and its reference of seed 2, so that margins are not zero."""

    def build(**changes: Any) -> DPOTrainer:
        settings = {
            "output_dir": str(tmp_path / "dpo"),
            "use_cpu": True,
            "bf16": False,
            "gradient_checkpointing": False,
            "report_to": "none",
            "beta": 0.1,
            "max_length": None,
        }
        return DPOTrainer(
            new_policy(1),
            ref_model=new_policy(2),
            args=DPOConfig(**(settings | changes)),
            train_dataset=Dataset.from_dict({"prompt": ["a"], "chosen": ["b"], "rejected": ["c"]}),
            processing_class=tokenizer,
        )

    return build


def oracle_batch(pairs: PairDataset) -> dict[str, torch.Tensor]:
    renamed = [
        row
        | {
            "ref_chosen_logps": row["reference_chosen_logps"],
            "ref_rejected_logps": row["reference_rejected_logps"],
        }
        for row in pairs.rows(range(len(pairs)))
    ]
    return DataCollatorForPreference(pad_token_id=0)(renamed)


@pytest.mark.parametrize("loss", ["sigmoid", "sigmoid_norm"])
@pytest.mark.parametrize("sft_weight", [0.0, 0.3])
def test_value_and_gradient_equal_trl_with_precomputed_reference(
    new_policy, new_oracle, pair_rows, loss: str, sft_weight: float
) -> None:
    config = UNWEIGHTED.model_copy(update={"pair_loss_type": loss, "pair_sft_weight": sft_weight})
    pairs = reference_logprobs(new_policy(2), PairDataset.from_rows(pair_rows), config, batch_size=4)
    types, weights = ([loss, "sft"], [1.0, sft_weight]) if sft_weight else ([loss], None)
    oracle = new_oracle(loss_type=types, loss_weights=weights)
    # Reads the reference from the batch; asking the constructor for it would cache a pass of its own on disk.
    oracle.precompute_ref_logps = True
    oracle.model.train()
    theirs = oracle.compute_loss(oracle.model, oracle_batch(pairs))
    theirs.backward()

    policy = new_policy(1).train()
    ours = pair_terms(policy, collate_pairs(pairs.rows(range(len(pairs))), config), config)
    ours.loss.backward()
    assert ours.margins.abs().min() > 1e-3
    assert ours.loss.item() == pytest.approx(theirs.item(), abs=1e-5)
    for mine, other in zip(policy.parameters(), oracle.model.parameters(), strict=True):
        assert torch.allclose(mine.grad, other.grad, atol=1e-5)
    assert max(parameter.grad.abs().max() for parameter in policy.parameters()) > 1e-3


def test_reference_logprobs_equal_those_of_trl(new_policy, new_oracle, pair_rows) -> None:
    pairs = reference_logprobs(new_policy(2), PairDataset.from_rows(pair_rows), UNWEIGHTED, batch_size=4)
    oracle = new_oracle()
    chosen, rejected = oracle.compute_ref_log_probs(oracle.ref_model, oracle_batch(pairs))
    assert torch.allclose(torch.tensor(pairs.table["reference_chosen_logps"].to_pylist()), chosen, atol=1e-5)
    assert torch.allclose(
        torch.tensor(pairs.table["reference_rejected_logps"].to_pylist()), rejected, atol=1e-5
    )


def test_the_reference_itself_has_margin_zero_and_loss_ln_2(new_policy, pair_rows) -> None:
    policy = new_policy(2).train()
    config = UNWEIGHTED.model_copy(update={"pair_prompt_token_limit": 3})
    pairs = reference_logprobs(policy, PairDataset.from_rows(pair_rows), config)
    assert policy.training
    terms = pair_terms(policy, collate_pairs(pairs.rows(range(len(pairs))), config), config)
    assert terms.margins.abs().max() < 1e-5
    assert terms.loss.item() == pytest.approx(math.log(2.0), abs=1e-5)


def test_a_pair_counts_by_its_vote_margin(new_policy, pair_rows) -> None:
    weighted = UNWEIGHTED.model_copy(update={"pair_vote_margin_weights": True})
    pairs = reference_logprobs(new_policy(2), PairDataset.from_rows(pair_rows), UNWEIGHTED)
    policy = new_policy(1)
    alone = [
        pair_terms(policy, collate_pairs(pairs.rows([index]), UNWEIGHTED), UNWEIGHTED).loss.item()
        for index in range(len(pairs))
    ]
    together = pair_terms(policy, collate_pairs(pairs.rows(range(len(pairs))), weighted), weighted)
    expected = sum(row["vote_margin"] * loss for row, loss in zip(pair_rows, alone, strict=True)) / len(pairs)
    assert together.loss.item() == pytest.approx(expected, abs=1e-5)


def test_the_prompt_is_cut_on_the_left_and_the_action_never(pair_rows) -> None:
    config = UNWEIGHTED.model_copy(update={"pair_prompt_token_limit": 2})
    batch = collate_pairs(pair_rows_with_reference(pair_rows), config)
    sequences = batch.sequences
    actions = [row["chosen_ids"] for row in pair_rows] + [row["rejected_ids"] for row in pair_rows]
    for index, (row, action) in enumerate(zip(pair_rows * 2, actions, strict=True)):
        prompt_and_action = sequences.input_ids[index][sequences.attention_mask[index].bool()].tolist()
        assert prompt_and_action == row["prompt_ids"][-2:] + action


def pair_rows_with_reference(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"reference_chosen_logps": -1.0, "reference_rejected_logps": -2.0} for row in rows]


def cursor_of(pair_rows: list[dict[str, Any]], seed: int = 0, **process: int) -> PairCursor:
    config = UNWEIGHTED.model_copy(update={"pairs_per_micro_batch": 4, "pair_seed": seed})
    return PairCursor(PairDataset.from_rows(pair_rows), config, **process)


def test_each_pass_shows_each_pair_once_in_another_order(pair_rows) -> None:
    cursor = cursor_of(pair_rows)
    seen = [index for _ in range(3) for index in cursor.next_indices()]
    assert sorted(seen[:6]) == sorted(seen[6:]) == list(range(6))
    assert seen[:6] != seen[6:]
    assert cursor.pass_count == 2.0


def test_the_order_follows_the_seed_and_leaves_the_global_generator_alone(pair_rows) -> None:
    before = torch.get_rng_state()
    orders = [[cursor_of(pair_rows, seed).next_indices() for _ in range(2)] for seed in (0, 1, 2)]
    assert torch.equal(before, torch.get_rng_state())
    assert all(first == second for first, second in orders)
    assert len({tuple(first) for first, _ in orders}) > 1


@given(done=st.integers(0, 12), rest=st.integers(1, 6))
def test_a_resumed_cursor_gives_the_same_next_pairs(done: int, rest: int) -> None:
    rows = [{"pair_id": str(i), "prompt_ids": [3], "chosen_ids": [4], "rejected_ids": [5]} for i in range(7)]
    whole, resumed = cursor_of(rows), cursor_of(rows)
    for _ in range(done):
        whole.next_indices()
    resumed.load_state_dict(whole.state_dict())
    assert [whole.next_indices() for _ in range(rest)] == [resumed.next_indices() for _ in range(rest)]


def test_processes_share_the_order_without_overlap(pair_rows) -> None:
    one = cursor_of(pair_rows)
    two = [cursor_of(pair_rows, process_index=index, process_count=2) for index in (0, 1)]
    for _ in range(3):
        assert one.next_indices() + one.next_indices() == two[0].next_indices() + two[1].next_indices()


def test_a_cursor_refuses_the_state_of_other_pairs_or_of_another_seed(pair_rows) -> None:
    state = cursor_of(pair_rows).state_dict()
    with pytest.raises(TrainingError, match="pair_ids_digest"):
        cursor_of(pair_rows[:-1]).load_state_dict(state)
    with pytest.raises(TrainingError, match="seed"):
        cursor_of(pair_rows, seed=1).load_state_dict(state)


def test_arrow_and_rows_are_the_same_table(pair_rows) -> None:
    rows = pair_rows_with_reference(pair_rows)
    table = pa.Table.from_pylist(rows).append_column("extra", pa.array(range(6)))
    large = table.set_column(1, "prompt_ids", table["prompt_ids"].cast(pa.large_list(pa.int32())))
    assert PairDataset(large).table.equals(PairDataset.from_rows(rows).table)
    assert PairDataset(large).table.schema.names == PAIR_SCHEMA.names


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"chosen_ids": []}, "no tokens in chosen_ids"),
        ({"prompt_ids": None}, "no tokens in prompt_ids"),
        ({"pair_id": "pair-1"}, "not unique"),
    ],
)
def test_a_table_that_cannot_be_trained_on_is_refused(
    pair_rows, damage: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInputError, match=message):
        PairDataset.from_rows([pair_rows[0] | damage, *pair_rows[1:]])


def test_missing_columns_and_missing_reference_are_named(pair_rows) -> None:
    with pytest.raises(BadInputError, match="rejected_ids"):
        PairDataset(pa.table({"pair_id": ["a"], "prompt_ids": [[1]], "chosen_ids": [[1]]}))
    with pytest.raises(TrainingError, match="reference_chosen_logps"):
        PairDataset.from_rows(pair_rows).check_trainable(UNWEIGHTED)
    margins = [row | {"vote_margin": None} for row in pair_rows_with_reference(pair_rows)]
    PairDataset.from_rows(margins).check_trainable(UNWEIGHTED)
    with pytest.raises(TrainingError, match="vote_margin"):
        PairDataset.from_rows(margins).check_trainable(AuxiliaryLossConfig(pair_weight=1.0))
