"""Dagster definitions: thin, over the folds."""
