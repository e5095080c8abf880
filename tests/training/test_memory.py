from __future__ import annotations

import subprocess
import sys

import pytest

from peft_pod.training import memory
from peft_pod.training.memory import can_keep_memory, kept_memory

FAULTS = """
import resource, runpy, sys, torch
kept_memory = runpy.run_path(sys.argv[1])["kept_memory"]
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(10_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
usual = faults()
with kept_memory():
    torch.ones(50_000_000)
    kept = faults()
print(usual, kept, faults())
"""


@pytest.mark.skipif(not can_keep_memory(), reason="only glibc can be told to keep memory")
def test_memory_that_is_kept_is_not_asked_for_again():
    """40 MB are 9,766 pages: the kernel fills each of them five times over unless they are kept."""
    found = subprocess.run(
        [sys.executable, "-c", FAULTS, memory.__file__], check=True, capture_output=True, text=True
    ).stdout
    usual, kept, after = map(int, found.split())
    assert kept < usual / 3
    assert after > usual / 2


def test_elsewhere_it_does_nothing(monkeypatch):
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    monkeypatch.setattr("ctypes.CDLL", lambda _: pytest.fail("there is no mallopt here"))
    with kept_memory():
        assert not can_keep_memory()
