"""From answers to preference pairs.

Flow: `answers` (student and teachers at one state) → `votes` → `disagreement` and `agreement` → `pairs`.
"""
