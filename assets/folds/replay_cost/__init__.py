"""The cost of a replay, and the verdict on it.

Flow: calls of one replay → `spend` (the derived tables of money) → `measures` (arrays over traces, turns,
teachers) → `cost_verdict` (the registered rule; `cost_model` is its data) → `cost_reasons`.
"""
