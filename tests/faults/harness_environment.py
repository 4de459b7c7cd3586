"""The environment of the harness and of its children: imported by the command before what starts threads.

Not by the package: the suite imports parts of it, and keeps its own number of threads.
"""

import os

# Two processes of the harness share two cores here and in CI.
for _name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(_name, "1")
# What Lance logs of the faults that it is given would bury the counts.
os.environ.setdefault("LANCE_LOG", "error")
