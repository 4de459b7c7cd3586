"""One training of one arm with one seed, from the lock to the final weights.

Flow: `locking` compares data, code and `settings` with the lock → `launch` opens the pin and trains →
`recorder` turns what is generated and consumed into events → `checkpoints` finds where to resume.
"""
