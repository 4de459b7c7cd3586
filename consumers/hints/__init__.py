"""The hint channel (SDPO): a frozen teacher that was given a hint supervises the student's own tokens.

Flow: `turn_views` reads turns off the token mask → `hints` chooses turns and texts → `hinted_batch` makes the
two sequences → `frozen_teacher` and student score them → `sdpo_loss`.
"""
