"""Landed files: immutable Parquet, one kind of event per file.

Flow: `writing` lands rows → `listing` finds the files behind a cursor → `reading` reads and upcasts them.
`log` orders the files under a Merkle root; `ledger` accounts for every event that was given to a writer.
"""
