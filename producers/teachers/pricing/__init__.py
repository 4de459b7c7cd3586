"""What calls cost.

Flow: `price_lists` (prices of a teacher) and `token_estimate` (bound on a prompt) → `prices` (the most that a
call can cost) → `budget` (reserve, settle) → `usage` (what the endpoint reported) → `prices` (what it cost).
"""
