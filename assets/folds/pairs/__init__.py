"""From answers to preference pairs and training rows.

Flow: `answers` (student and teachers at one state) → `classified` (their action keys) → `votes` →
`disagreement` and `agreement` → `preference_pairs` → `training_rows`.
"""
