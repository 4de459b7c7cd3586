"""From a pin to a trained policy and its scores, all as events. The only importer of torch and trl.

Flow: `launches` trains one arm with one seed → `rollouts` plays it, `hints` and `pairs` are the auxiliary
losses, `trainer` adds them to GRPO → `evaluate` scores the checkpoint. `policy` is the seam for other models.
"""

from importlib.util import find_spec

from tracelake.schemas.errors import MissingExtraError

if __name__ != "tracelake.consumers":
    raise ImportError("import it as `tracelake.consumers`: one module has one name")

_missing = [
    name for name in ("torch", "trl", "transformers", "datasets", "accelerate") if find_spec(name) is None
]
if _missing:
    raise MissingExtraError(
        "training and evaluation need the extra `train`",
        got=f"{', '.join(_missing)} not installed",
        cure="Run `pip install 'tracelake[train]'`.",
    )
