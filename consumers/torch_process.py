"""How the training libraries behave in this process: quiet, offline, and on how many threads."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator

THREADS_VARIABLE = "OMP_NUM_THREADS"


def configure_training_libraries() -> None:
    """Offline, without their progress bars and warnings, and on one thread unless OMP_NUM_THREADS is set:
    launches run side by side, and sampling from a small policy loses more by waiting for a second thread than
    it gains.
    """
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRL_EXPERIMENTAL_SILENCE"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch
    from transformers.utils import logging

    if THREADS_VARIABLE not in os.environ:
        torch.set_num_threads(1)
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers|trl|torch")
    warnings.filterwarnings("ignore", category=UserWarning, module=r"transformers|trl|torch")


def core_count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def on_all_cores() -> Iterator[None]:
    """For work that runs alone; does nothing where OMP_NUM_THREADS is set."""
    import torch

    before = torch.get_num_threads()
    if THREADS_VARIABLE not in os.environ:
        torch.set_num_threads(core_count())
    try:
        yield
    finally:
        torch.set_num_threads(before)
