"""A small world to learn in: tiny Python functions with one bug each, and tests that are really executed."""
