"""Shared by experiment files of every type.

**Unknown keys are refused.** A typo in a threshold must not become a default.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

IDENTIFIER = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"


class Section(BaseModel):
    """Base of every table of an experiment file."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class Hypothesis(Section):
    given: str
    """The situation."""
    when: str
    """The treatment."""
    then: str
    """The expected result."""
