"""Pins: immutable names for exact contents of several tables.

Flow: `pins` digests the tables, protects their versions with a tag and writes the manifest → `manifests`
reads and checks it → `pins` opens it and recomputes the digests.
"""
