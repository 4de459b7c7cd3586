"""Keeps the training libraries from talking over a command's own output, and from reaching for a network."""

from __future__ import annotations

import os
import warnings


def settle_libraries() -> None:
    """Offline, without progress bars of their own, without notices about their own future; on one thread,
    unless OMP_NUM_THREADS says otherwise: a small policy loses more to waiting for a second one than it
    brings.
    """
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRL_EXPERIMENTAL_SILENCE"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch
    from transformers.utils import logging

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers|trl|torch")
    warnings.filterwarnings("ignore", category=UserWarning, module=r"transformers|trl|torch")
