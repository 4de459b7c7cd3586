"""Experiment files, their registration and their lock.

Flow: `experiment` (A/B) or `cost_experiment` parses a file → `lock` fixes data, code and trainer settings →
`registration` turns the resolved file into an event.
"""
