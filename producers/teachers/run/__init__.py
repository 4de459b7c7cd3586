"""One replay: everything that is missing is asked, once, within a budget.

Flow: `prepared` → `replay` → `replay_run` (tier after tier) → `teacher_run` (one teacher) → `attempt_events`
through the `journal` → `replay_report`. `history` knows earlier attempts; `run_control` says when to stop.
"""
