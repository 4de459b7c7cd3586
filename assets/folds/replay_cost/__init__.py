"""The verdict of a replay's cost.

Flow: `measures` (arrays over traces, turns, teachers) → `verdict` applies the registered rule (`model` is its
data) → `reasons` → `text`. `teacher_spend` is the derived table of money.
"""
