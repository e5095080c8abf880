"""Starting several processes that find each other, as `torchrun` does, on the CPU."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..forked import Script

ROOT = Path(__file__).parents[2]


def environment(**more: str) -> dict[str, str]:
    """For a process of its own: one thread, no network, no accelerator, the package found."""
    own = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": str(ROOT)}
    return {**os.environ, **own, **more}


def free_port() -> int:
    """A port of this machine that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_in_processes(module: str, arguments: Sequence[str], num_processes: int = 2) -> None:
    """Run a module in several processes, and wait until all have ended well."""
    place = {"WORLD_SIZE": str(num_processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    with tempfile.TemporaryDirectory() as folder:
        printed = [Path(folder) / str(rank) for rank in range(num_processes)]
        processes = []
        try:
            for rank, output in enumerate(printed):
                own = environment(**place, RANK=str(rank), LOCAL_RANK=str(rank))
                processes.append(Script(module, arguments, ROOT, own, output, output).start())
            for process in processes:
                process.join(timeout=300)
        finally:
            for process in processes:
                process.kill()
        for process, output in zip(processes, printed, strict=True):
            assert process.exitcode == 0, output.read_text(encoding="utf-8")
