"""What a replay will use and cost, before anything is sent.

Flow: recorded answers → `forecast` (usage and cost of the calls of one teacher) → `plan` (the whole replay).
"""
