"""From landed events to verdicts.

Flow: `registered` finds the rule that was registered → `verdicts` and `cost_verdicts` read the facts and call
the folds → `board` lists every experiment with its state. `projected_cost` prices recorded token counts.
"""
