"""What is asked.

Flow: `questions` (states of chosen traces) → `request_body` (request and its key) → `jobs` (what is to be
bought) → `order` (along each trace) → `tiers` (dear teachers only where cheap ones disagree).
"""
