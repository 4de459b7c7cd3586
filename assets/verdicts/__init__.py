"""From landed events to verdicts.

Flow: `derive_verdict` finds the registered rule, reads the events and calls the fold → `board` lists every
experiment with its status. `projected_cost` prices recorded token counts.
"""
