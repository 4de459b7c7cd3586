"""What experiment files of every type have in common.

**Unknown keys are refused.** A typo in a threshold must not become a default.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

IDENTIFIER = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"


class Part(BaseModel):
    """Base of every table of an experiment file."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class Hypothesis(Part):
    given: str
    """The situation."""
    when: str
    """What is done in it."""
    then: str
    """What is expected of it."""
