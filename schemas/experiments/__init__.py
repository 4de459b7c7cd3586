"""Experiment files, their registration and their lock.

Flow: `experiment` (A/B) or `cost_experiment` parses a file → `registration` makes it an event → `lock` says
on which data, code and settings it runs.
"""
