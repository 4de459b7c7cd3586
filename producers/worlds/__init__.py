"""Worlds: tasks, and environments to work on them."""
