"""The verdict of an A/B experiment.

Flow: `evaluations` (scores of arms) → `verdict` applies the registered rule (`model` is its data) → `reasons`
says why → `text` prints it.
"""
