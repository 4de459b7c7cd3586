"""Pins: immutable names for exact contents of several tables.

Flow: `pins` digests the tables, protects their versions with tags and writes the manifest → `manifests` reads
and verifies it → `pins` opens it and computes the digests again.
"""
