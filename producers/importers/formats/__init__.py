"""One module per foreign format.

Each module defines `IMPORTER` (see `tracelake.producers.importers.importer`): `claims` recognises a file by
its content, `read` converts it into rollouts. `format_registry.IMPORTERS` lists all of them.
"""
