"""Events to derived tables: pure folds, and Dagster definitions over them."""
