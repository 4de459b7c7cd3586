"""The demo's policy: two million parameters, a tokenizer of its own, learned on a CPU in minutes.

Flow: `warm_start` (demonstrations to weights) → `policy` (act, save, load) over `tokenizer` and `sampling`.
"""
