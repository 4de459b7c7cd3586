"""The way into a lake: `writer` redacts, names and deduplicates events, then makes them durable.

Flow: `deduplicate` (which asks `known_keys`) → `spool`, synced and acknowledged → `lander`, which seals
segments into landed files. Importers skip the spool: `rows` → `lander`. A trainer queues its events in a
`collector`.
"""
