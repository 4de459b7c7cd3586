"""The fault harness: a lake's guarantees while processes die, power fails and stores misbehave.

Flow: `python -m tests.faults` runs scenarios, one module each → a scenario damages lakes in forked children
(`children`), works on them (`workload`) and compares them with the workers' reports → counts (`report`).
Only `test_smoke.py` is part of the test suite.
"""
