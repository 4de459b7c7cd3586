"""Frozen teachers: models that answer what they would have done at recorded states.

Flow: `spec` (teacher file) → `asking` (questions, jobs) → `history` (what the lake knows) → `forecast` (a plan)
or `run` (a replay within a budget, see `pricing`) → teacher events. `probe` measures what an endpoint supports;
`local` belongs to the demo.
"""
