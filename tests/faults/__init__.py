"""Faults on purpose: what a lake promises is kept while processes die, power fails and stores lie.

Run as `python -m tests.faults`; only `test_smoke.py` is part of the suite.
"""

import os

# Set before anything starts its threads: two processes of the harness share two cores here and in CI.
for _name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(_name, "1")
# What Lance logs of the faults that it is given would bury the counts.
os.environ.setdefault("LANCE_LOG", "error")
