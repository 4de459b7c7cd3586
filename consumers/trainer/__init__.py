"""The trainer: TRL's GRPO with a hint channel and a pair channel.

Flow: `auxiliary_grpo` builds the channels whose weights are not zero → TRL generates and scores → each
micro-batch's loss gets the weighted channels → hooks report what was generated and consumed.
"""
