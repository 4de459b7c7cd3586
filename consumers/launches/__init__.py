"""One training of one arm with one seed, from registration to checkpoint.

Flow: `registration` (specification and lock) → `launch` opens the pin and builds the trainer with
`settings` → `landing` lands what it generates and consumes → `checkpoints`; `history` finds earlier attempts.
"""
