"""Pure functions from frames to frames: no reading, no writing, no clock, no global randomness.

Flow: traces → actions → pairs (answers, votes, disagreement, preference pairs, training rows); scores →
verdict; teacher calls → replay_cost. `statistics` serves both verdicts.

**Equal rows give equal frames**: input order and repeated events do not matter, and every frame is sorted by
a total order.
**Randomness is a parameter**: every function that resamples takes a seed.
"""
