"""Secrets are found and taken out before anything is written, and looked for again before anything leaves."""
