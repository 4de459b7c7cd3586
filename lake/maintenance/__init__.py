"""Maintenance keeps tables small in files and versions.

Flow: `limits` says when → `maintain` decides per table → `merging` merges small fragments → versions that no
tag names are removed.
"""
