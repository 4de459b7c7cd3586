"""Statistics of paired scores.

Flow: `paired_scores` (seeds by tasks) → `contrast` (estimate and interval) → `slices` and `power`.
`exact_tests` holds small exact tests and corrections.
"""
