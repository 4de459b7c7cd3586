"""Faults on purpose: what a lake promises is kept while processes die, power fails and stores lie.

Run as `python -m tests.faults`; only `test_smoke.py` is part of the suite.
"""
