"""What of the landed events counts, by the conflicts found and the decisions of people.

Flow: `conflicts` lists and resolves, `retractions` takes rollouts out and back in; both write events →
`selection` folds these events: which rows do folds and pins use, and which rollouts are left out, and why.
"""
