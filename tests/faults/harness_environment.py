"""Environment variables of the harness and its children; imported before any module that starts threads.

The package does not import it: the test suite uses parts of the harness with its own thread counts.
"""

import os

# Two processes of the harness share two cores here and in CI.
for _name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(_name, "1")
# Lance's log lines about the injected faults would hide the counts.
os.environ.setdefault("LANCE_LOG", "error")
