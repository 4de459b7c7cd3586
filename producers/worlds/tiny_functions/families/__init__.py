"""The function families that tasks are made of, as data."""
