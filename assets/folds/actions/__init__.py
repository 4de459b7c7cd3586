"""Equality of actions.

Flow: action JSON → `keys`, one per level → shell commands through `shell` (syntax tree → tokens → canonical
text), its words through `shell_words`, its arguments through `shell_flags`.
"""
