"""Landed files to event tables.

Flow: `project` adds what a table's cursor has not passed yet, exactly once. `rebuild` makes a table again
from all landed files.
"""
