"""Frozen teachers: models that answer what they would have done at recorded states.

Flow: `spec` (teacher file) → `asking` (questions, jobs) → `history` (what the lake knows) → `forecast` (plan)
or `run` (replay within a budget, see `pricing`) → teacher events. `probe` measures what an endpoint can do.
"""
