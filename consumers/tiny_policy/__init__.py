"""The demo's policy: two million parameters and its own tokenizer, trained on a CPU in minutes.

Flow: `warm_start` (demonstrations to weights, with `muon`) → `policy` (act, save, load) over `tokenizer` and
`sampling`.
"""
