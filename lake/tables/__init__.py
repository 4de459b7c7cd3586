"""Lance tables: opened, committed by compare-and-swap, synced, digested, protected by tags.

Flow: `commits` opens a table and commits to it → `fsync` makes the commit durable → `torn_manifests` moves a
torn version aside when the table is next opened.
`derived` writes fold results with their `digest`; `cursors` and `fingerprints` say which events a table has;
`tags` keeps versions from cleanup; `lance_errors` interprets what Lance raises.
"""
