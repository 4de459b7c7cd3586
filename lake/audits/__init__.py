"""Audits compare files, rows, tables and pins of a lake with each other; `audit` is the entry point."""
