"""Traces of other tools, read into events: `import_sources` of `producers.importers.ingest`."""
