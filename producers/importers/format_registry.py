"""All formats that can be imported.

**Another package adds its own** through the entry point group `tracelake.importers`, whose objects are
`Importer`s; one that cannot be loaded is an error that names it, and no silent loss of a format.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points

from tracelake.producers.importers.formats import (
    atif,
    chat_messages,
    claude_code,
    inspect_log,
    mini_swe_agent,
    nemo_gym,
    openai_responses,
    openhands,
    otel_genai,
    swe_agent,
    tau2_bench,
    tau_bench,
    trl_completions,
    verifiers,
    verifiers_traces,
)
from tracelake.producers.importers.importer import Importer
from tracelake.schemas.errors import BadInputError

AUTO = "auto"
ENTRY_POINTS = "tracelake.importers"
# The first importer that claims a file reads it: formats with marks of their own come before looser ones.
BUILT_IN: tuple[Importer, ...] = (
    atif.IMPORTER,
    inspect_log.IMPORTER,
    mini_swe_agent.IMPORTER,
    swe_agent.IMPORTER,
    nemo_gym.IMPORTER,
    openai_responses.IMPORTER,
    tau_bench.IMPORTER,
    tau2_bench.IMPORTER,
    verifiers.IMPORTER,
    verifiers_traces.IMPORTER,
    openhands.IMPORTER,
    claude_code.IMPORTER,
    otel_genai.IMPORTER,
    trl_completions.IMPORTER,
    # The loosest, hence last.
    chat_messages.IMPORTER,
)


@cache
def importers() -> tuple[Importer, ...]:
    """Those of other packages first: they know their own format best. Raises BadInputError for one that
    cannot be loaded, and for two of one name."""
    found = [_loaded(point) for point in entry_points(group=ENTRY_POINTS)]
    every = (*found, *BUILT_IN)
    names = [importer.format for importer in every]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise BadInputError(
            "two importers have one name",
            got=", ".join(doubled),
            expected="a name for each",
            cure=f"Uninstall one of the packages with the entry point {ENTRY_POINTS}.",
        )
    return every


def formats() -> tuple[str, ...]:
    return tuple(importer.format for importer in importers())


def _loaded(point: EntryPoint) -> Importer:
    try:
        found = point.load()
    except Exception as error:
        # A foreign module may raise anything while it is loaded.
        raise BadInputError(
            "an importer of another package cannot be loaded",
            got=f"{point.value}: {error}",
            cure=f"Repair or uninstall the package with the entry point {ENTRY_POINTS}: {point.name}.",
        ) from error
    if not isinstance(found, Importer):
        raise BadInputError(
            "an entry point is no importer",
            got=f"{point.value}: {type(found).__name__}",
            expected="tracelake.producers.importers.importer.Importer",
        )
    return found
