"""One module per foreign format: what files claim to be it, and how a record of it becomes events."""
