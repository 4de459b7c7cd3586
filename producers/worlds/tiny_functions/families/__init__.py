"""The function families of the tasks, as data."""
