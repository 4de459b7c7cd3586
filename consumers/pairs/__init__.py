"""The pair channel: DPO on pinned preference pairs.

Flow: `pair_tokens` renders pinned rows through the policy's template → `pair_batches` orders and collates
them → `dpo_loss` scores them against reference log-probabilities.
"""
