"""Charts of verdicts and of disagreement.

Flow: a verdict or a frame → one chart per file → `style` (look, SVG and PNG bytes).
"""
