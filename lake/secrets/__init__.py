"""Find secrets and replace them before anything is written, and check again before a pin.

Flow: `redaction` replaces what `secret_search` finds: `known_secrets` of this process and `secret_patterns`,
also across pieces of a `split_text`. `secret_check` searches the rows of a pin once more, with other rules.
"""
