"""What teachers are asked.

Flow: `questions` (states of chosen traces) → `request_body` (a request and its key) → `jobs` (answers to buy)
→ `order` (along each trace) → `tiers` (expensive teachers only where cheap ones disagree).
"""
