"""Rollouts: a policy works on tasks in environments.

Flow: `play` is the one multi-turn loop → `events` turns a record into events → `collect` lands rollouts of a
frozen policy.
"""
