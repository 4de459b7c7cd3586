"""Statistics of scores on seeds and tasks.

Flow: `contrast` (mean, interval, bootstrap) → `power` and `p_values` (sign flips, Holm's correction).
"""
