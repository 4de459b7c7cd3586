"""The way into a lake: `writer` redacts, names and deduplicates events, then makes them durable.

Flow: `deduplicate` (which asks `known_keys`) → `spool`, synced and acknowledged → `lander`, which seals
segments into landed files. Importers skip the spool: `rows` → `lander`. `collector` queues events for a
trainer.
"""
