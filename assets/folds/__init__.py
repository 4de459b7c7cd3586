"""Pure functions from frames to frames: no reading, no writing, no clock, no global randomness.

Flow: answers → votes → disagreement → preference pairs; evaluations → verdict.

**Equal rows give equal frames**: input order and repeated events change nothing, and every frame ends in a
total-order sort.
**Randomness is a parameter**: whatever resamples takes a seed.
"""
