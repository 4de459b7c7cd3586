"""Keeps the training libraries from talking over a command's own output, and from reaching for a network."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator

THREADS_VARIABLE = "OMP_NUM_THREADS"


def settle_libraries() -> None:
    """Offline, without progress bars of their own, without notices about their own future; on one thread,
    unless OMP_NUM_THREADS says otherwise: launches run side by side, and sampling from a small policy loses
    more to waiting for a second thread than it brings.
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
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def on_all_cores() -> Iterator[None]:
    """For work that nothing else runs beside; OMP_NUM_THREADS stays what it is."""
    import torch

    before = torch.get_num_threads()
    if THREADS_VARIABLE not in os.environ:
        torch.set_num_threads(core_count())
    try:
        yield
    finally:
        torch.set_num_threads(before)
