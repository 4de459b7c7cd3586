"""Traces of other tools, read into events by `import_sources`."""
