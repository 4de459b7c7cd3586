"""The verdict of an A/B experiment.

Flow: `evaluations` (scores of arms) → `paired_scores` (seeds by tasks) → `slices` → `ab_verdict` (the
registered rule; `ab_model` is its data) → `ab_reasons`. `verdict_base` also serves the verdict on a replay's
cost.
"""
