"""The hint channel (SDPO): a frozen teacher that reads a hint supervises the student's own tokens.

Flow: `turn_views` finds the turns in the token mask → `hints` chooses turns and texts → `hinted_batch` builds
the two sequences → `frozen_teacher` and student score them → `sdpo_loss`.
"""
