"""Where the experiment files that ship with the package are, in a checkout and in a wheel alike."""

from __future__ import annotations

from pathlib import Path

import tracelake

EXPERIMENTS = Path(tracelake.__file__).parent / "examples" / "experiments"
