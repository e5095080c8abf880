"""Memory that a step frees stays with the process for the next step.

glibc hands large blocks back to the kernel as soon as they are freed, and the kernel fills every page with zeros when
it is asked for the block again. A training step on a CPU frees and asks for gigabytes, so a third of its time may go
there.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
# What the thresholds of glibc grow to by themselves once large blocks were freed.
_LARGEST_MMAP_THRESHOLD = 32 * 2**20
_USUAL_MMAP_MAX = 65536


def can_keep_memory() -> bool:
    """Whether this process has the allocator that can be told to keep memory: glibc's."""
    return platform.libc_ver()[0] == "glibc"


@contextmanager
def kept_memory() -> Iterator[None]:
    """Keep freed memory for a while, and then hand it back; elsewhere than on glibc this does nothing.

    The process holds as much as it needed at the most. It is for the whole process, other threads included.
    """
    if not can_keep_memory():
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        libc.mallopt(_MMAP_MAX, _USUAL_MMAP_MAX)
        libc.mallopt(_TRIM_THRESHOLD, 2 * _LARGEST_MMAP_THRESHOLD)
        libc.malloc_trim(0)
