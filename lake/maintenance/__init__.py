"""Tables are kept small in files and versions.

Flow: `upkeep` says when → `maintain` decides per table → `merging` merges small fragments; old versions
that no tag names are removed.
"""
