"""Frozen teachers: who is asked what it would have done."""
