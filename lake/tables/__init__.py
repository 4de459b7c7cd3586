"""Lance tables: opened, committed onto by compare-and-swap, made durable, digested, protected by tags.

Flow: `commits` opens and commits → `fsync` makes a commit durable → `care` sets a torn head aside.
Around it: `derived` writes fold results with their `digest`; `cursors` and `seen` say what a projection has
taken; `tags` and `leases` protect versions from cleanup; `lance_errors` reads what Lance raises.
"""
