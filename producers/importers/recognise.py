"""The search for the format of a source.

**The content decides**: each importer examines the parsed content, never the file's name alone.
"""

from __future__ import annotations

from tracelake.producers.importers.format_registry import AUTO, formats, importers
from tracelake.producers.importers.formats import chat_messages
from tracelake.producers.importers.importer import Importer
from tracelake.producers.importers.source import Source
from tracelake.schemas.errors import SourceFormatError


def importer_for(source: Source, format: str = AUTO) -> Importer:
    """The first importer, of a format or of any, that claims a source. Raises SourceFormatError if there is
    none; the message names a format that would fit.

    The format `chat-messages` claims whatever a user names: its column map may have any names."""
    if format == chat_messages.FORMAT:
        return chat_messages.IMPORTER
    for importer in importers():
        if format in (AUTO, importer.format) and importer.claims(source):
            return importer
    looks_like = [importer.format for importer in importers() if importer.claims(source)]
    raise SourceFormatError(
        "not a trace of a known format" if format == AUTO else "not a trace of the named format",
        got=f"looks like {looks_like[0]}" if looks_like else _shape(source),
        expected=", ".join(formats()) if format == AUTO else format,
    )


def _shape(source: Source) -> str:
    """A few words about the content, for a message."""
    value = source.first
    kind = {"jsonl": "JSON lines", "parquet": "Parquet rows", "zip": "a zip file"}.get(
        source.container, "JSON"
    )
    if isinstance(value, dict):
        return f"{kind} with keys {', '.join(map(str, sorted(value)))[:200]}"
    if isinstance(value, list):
        return f"a {kind} list of {len(value)}"
    return f"{kind} {type(value).__name__}"
