"""Signals that ask a process to end: SIGTERM, as schedulers send it, and SIGINT, as Ctrl-C sends it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

TERMINATED = 128 + signal.SIGTERM
"""The exit status of a process that ended because of SIGTERM: 143."""


class StopRequest:
    """Within its block, remembers SIGTERM or SIGINT in place of ending the process.

    Further SIGTERMs change nothing. A second SIGINT raises `KeyboardInterrupt`, since whoever presses Ctrl-C twice
    does not want to wait. A signal that was ignored stays so. Outside of the main thread, where Python handles no
    signals, nothing is remembered.

    Args:
        announcement: said on standard error at the first signal, after its name.

    Example:
        >>> with StopRequest("stopping") as request:
        ...     os.kill(os.getpid(), signal.SIGTERM)
        >>> request.signal == signal.SIGTERM
        True
    """

    def __init__(self, announcement: str = "") -> None:
        self.announcement = announcement
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *exception: object) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal is not None:
            raise KeyboardInterrupt
        if self.signal is None and self.announcement:
            # Not by print: the signal may have come while something else was being printed.
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, self._announced(number))
        if self.signal is None or number == signal.SIGTERM:
            self.signal = number

    def _announced(self, number: int) -> bytes:
        return f"{signal.Signals(number).name}: {self.announcement}\n".encode()

    def obey(self) -> None:
        """End the process as the signal asks: by `SystemExit(143)`, or `KeyboardInterrupt` where it was SIGINT."""
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(TERMINATED)


@contextmanager
def exiting_on_sigterm() -> Iterator[None]:
    """Within the block, SIGTERM raises `SystemExit(143)`, so that what is half written is removed on the way out."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(TERMINATED)

    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:
        yield
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
