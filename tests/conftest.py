"""Settings for the whole suite."""

from __future__ import annotations

import gc
import os
import signal

# A shell without job control lets what it starts in the background ignore Ctrl-C, and those processes pass that on.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# No test may reach for the network; the libraries read this when they are imported.
os.environ["HF_HUB_OFFLINE"] = "1"
# The suite runs in as many processes as there are cores; threads on top of that wait for each other.
os.environ["OMP_NUM_THREADS"] = "1"

import torch

torch.set_num_threads(1)


def pytest_collection_finish() -> None:
    """Spare the garbage collector what imports left: a Trainer calls it whenever it ends, a third of a second each."""
    gc.collect()
    gc.freeze()
