"""All formats that can be imported, and the search for the format of a file.

**The content decides**: each importer examines the parsed JSON, never the file's name alone.
"""

from __future__ import annotations

from tracelake.producers.importers.formats import mini_swe_agent, swe_agent, tau_bench, verifiers
from tracelake.producers.importers.importer import Importer, ParsedSource
from tracelake.schemas.errors import SourceFormatError

AUTO = "auto"
# The first importer that claims a file reads it.
IMPORTERS: tuple[Importer, ...] = (
    mini_swe_agent.IMPORTER,
    swe_agent.IMPORTER,
    verifiers.IMPORTER,
    tau_bench.IMPORTER,
)
FORMATS: tuple[str, ...] = tuple(importer.format for importer in IMPORTERS)


def importer_for(parsed: ParsedSource, format: str = AUTO) -> Importer:
    """The first importer, of a format or of any, that claims a source. Raises SourceFormatError if there is
    none; the message names a format that would fit."""
    for importer in IMPORTERS:
        if format in (AUTO, importer.format) and importer.claims(parsed):
            return importer
    looks_like = [importer.format for importer in IMPORTERS if importer.claims(parsed)]
    raise SourceFormatError(
        "not a trace of a known format" if format == AUTO else "not a trace of the named format",
        got=f"looks like {looks_like[0]}" if looks_like else _shape(parsed),
        expected=", ".join(FORMATS) if format == AUTO else format,
    )


def _shape(parsed: ParsedSource) -> str:
    """A few words about the JSON, for a message."""
    value = parsed.document if parsed.first_row is None else parsed.first_row
    kind = "a JSON object" if parsed.first_row is None else "JSON lines"
    if isinstance(value, dict):
        return f"{kind} with keys {', '.join(sorted(value)[:8])}"
    if isinstance(value, list):
        return f"a JSON list of {len(value)}"
    return f"JSON {type(value).__name__}"
