"""`teachers.toml`: which models may be asked, how, within which limits and at which price.

Flow: TOML → `teacher_file` (strict models, errors that name the key) → `frozen_name` (is this name frozen?).
"""
