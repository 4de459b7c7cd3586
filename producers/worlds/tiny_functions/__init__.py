"""The demo's world: tiny Python functions with one bug each, and tests that are really executed.

Flow: `families` (data) → `tasks` → `environment` (three tools, tests run in `sandbox`) → `world`; `oracle`
plays it. Consumers see only a `World` (`schemas/world.py`); besides the command line, only the local teachers
import this folder.
"""
