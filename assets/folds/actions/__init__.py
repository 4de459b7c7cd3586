"""When two actions are the same action.

Flow: action JSON → `keys`, one per level → shell commands through `shell` (tree, words, flags, tokens).
`classified` attaches the keys to answers.
"""
