"""Projection: landed files to event tables.

Flow: `project` adds the files behind a table's cursor, exactly once → the table is maintained if it is due.
`rebuild` creates a table again from all landed files.
"""
