"""Worlds: tasks, and environments that execute them, behind the `World` of `schemas/world.py`.

Flow: the command line chooses a world by name → consumers play its tasks → rollout events.
"""
