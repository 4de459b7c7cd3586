"""Landed files: immutable Parquet, one kind of event a file.

Flow: `writing` lands rows → `listing` finds files that a cursor has not passed → `reading` reads them back,
upcast. `log` orders them under a Merkle root (`merkle`); `ledger` accounts for every event given to a writer.
"""
