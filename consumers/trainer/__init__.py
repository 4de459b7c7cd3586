"""The trainer: TRL's GRPO with a hint channel and a pair channel.

Flow: `auxiliary_losses` (weights and settings) → `channels` (what each needs) → `auxiliary_grpo` adds their
losses → `hooks` reports what was generated and consumed.
"""
