"""`teachers.toml`: who may be asked, how, within which limits, at which price."""
