"""One replay: every missing answer is asked for once, within a budget.

Flow: `replay` → `prepared` (jobs) → `replay_run` (tier by tier) → `teacher_run` (one attempt after another) →
`attempt_events` → `journal` → `replay_report`. `run_control` has the money and the stop.
"""
