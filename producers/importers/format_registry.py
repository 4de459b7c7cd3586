"""The formats that can be imported, and which of them a file is in.

**A file is known by its content**: each importer looks at what was parsed, never at the name alone.
"""

from __future__ import annotations

from tracelake.producers.importers.formats import mini_swe_agent, swe_agent, tau_bench, verifiers
from tracelake.producers.importers.source import Importer, Opened
from tracelake.schemas.errors import SourceFormatError

AUTO = "auto"
IMPORTERS: tuple[Importer, ...] = (
    mini_swe_agent.IMPORTER,
    swe_agent.IMPORTER,
    verifiers.IMPORTER,
    tau_bench.IMPORTER,
)
FORMATS: tuple[str, ...] = tuple(importer.format for importer in IMPORTERS)


def candidates(format: str) -> tuple[Importer, ...]:
    """The importers that a name stands for. Raises SourceFormatError for a name that is none."""
    if format == AUTO:
        return IMPORTERS
    chosen = tuple(importer for importer in IMPORTERS if importer.format == format)
    if not chosen:
        raise SourceFormatError(
            "no such trace format", got=format, expected=", ".join((AUTO, *FORMATS)), cure="Name one of them."
        )
    return chosen


def importer_of(opened: Opened, chosen: tuple[Importer, ...]) -> Importer:
    """Raises SourceFormatError if none of the chosen formats fits, and names the one that would."""
    for importer in chosen:
        if importer.claims(opened):
            return importer
    looks_like = [importer.format for importer in IMPORTERS if importer.claims(opened)]
    raise SourceFormatError(
        "not a trace of a known format" if chosen == IMPORTERS else "not a trace of the named format",
        got=f"looks like {looks_like[0]}" if looks_like else _shape(opened),
        expected=", ".join(importer.format for importer in chosen),
    )


def _shape(opened: Opened) -> str:
    """What the JSON is, in a few words."""
    value = opened.document if opened.first_row is None else opened.first_row
    kind = "a JSON object" if opened.first_row is None else "JSON lines"
    if isinstance(value, dict):
        return f"{kind} with keys {', '.join(sorted(value)[:8])}"
    if isinstance(value, list):
        return f"a JSON list of {len(value)}"
    return f"JSON {type(value).__name__}"
