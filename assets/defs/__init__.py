"""Dagster definitions over the folds.

Flow: `lake_resource` → `event_tables` (projection) → `derived_tables` (folds and checks) → `metadata` for
Dagster's pages.
"""
