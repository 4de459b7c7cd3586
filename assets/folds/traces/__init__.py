"""Rows about rollouts.

Flow: events of rollouts → `turns` and trajectories; consumed batches → `exposures`.
"""
