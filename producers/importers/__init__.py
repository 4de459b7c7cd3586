"""Traces of other tools, read into events.

Flow: `import_sources` runs the loop: `find_files` (paths → files) → `source` (bytes → JSON) →
`format_registry` (which format) → `formats/` (JSON → events of a rollout) → the lake's writer → `report`.
A new format is one module in `formats/` over the tools in `conversion/`; `importer` is the contract between
them.
"""
