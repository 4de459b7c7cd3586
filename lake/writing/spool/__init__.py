"""The local spool: acknowledged events on disk until they land.

Flow: `spool` writes and syncs frames of a `segment` → `sealing` lands a closed segment's events, in a thread
or in `sealing_process` (which runs `sealing_main`) → after a crash, `recovery` seals the remaining segments.
"""
