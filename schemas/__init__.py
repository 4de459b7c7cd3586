"""Contracts: events and their Arrow schemas, pins, experiment files, environments, the error tree.

Flow: producers create `events/` → the lake stores them and pins tables (`pin`) → `experiments/` train on
pins. `canonical` defines the hashes, `message` and `context` the state of a turn.
This package imports no other package of tracelake.
"""

if __name__ != "tracelake.schemas":
    raise ImportError("import it as `tracelake.schemas`, so that each module has one name")
