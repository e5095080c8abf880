"""How far several processes have come with the parts of a batch."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Sequence

from tqdm.auto import tqdm

from peft_pod.training.progress import SECONDS_BETWEEN_LINES, shows_bars


class Progress:
    """Shows how many rows all processes have finished: a bar on a terminal, else a line a minute.

    Each process makes the parts of its share in their order, so no more than the next one of each share is looked at:
    a look takes no longer where there are more parts.

    Args:
        is_made: whether a part is there.
        shares: for each process the numbers of the parts that it makes, in the order in which it does.
        sizes: rows of each part, also of those that were there before.
        shown: whether anything is shown.

    Example:
        >>> made = {0}
        >>> progress = Progress(made.__contains__, [[1, 3], [2]], [4, 4, 4, 1], shown=False)
        >>> made |= {2, 3}
        >>> progress.rows_left()
        5
        >>> made |= {1}
        >>> progress.rows_left()
        0
    """

    def __init__(
        self, is_made: Callable[[int], bool], shares: Sequence[Sequence[int]], sizes: Sequence[int], *, shown: bool
    ) -> None:
        self._is_made = is_made
        self._shares = [deque(share) for share in shares]
        self._sizes = sizes
        self._shown = shown
        self._total = sum(sizes)
        self._left = self._left_before = sum(sizes[number] for share in shares for number in share)
        self._began = self._last = time.monotonic()
        self._bar = None
        if shown and shows_bars():
            done = self._total - self._left
            self._bar = tqdm(total=self._total, initial=done, desc="recommending", unit="row", dynamic_ncols=True)
        elif shown:
            parts = sum(map(len, shares))
            say(f"recommending: {parts} of {len(sizes)} parts to make, {self._total:,} rows in all")

    def rows_left(self) -> int:
        """How many rows of all processes' shares are not finished yet."""
        for share in self._shares:
            while share and self._is_made(share[0]):
                self._left -= self._sizes[share.popleft()]
        return self._left

    def show(self) -> None:
        """Say how far it is, where it is time to."""
        if self._bar is not None:
            self._bar.update(self._total - self.rows_left() - self._bar.n)
        elif self._shown and time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            left = self.rows_left()
            rate = (self._left_before - left) / (self._last - self._began)
            say(f"recommending: row {self._total - left:,} of {self._total:,}, {rate:,.3g} rows a second")

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self.show()
            self._bar.close()


def say(line: str) -> None:
    """Write a line to standard error, where a run's progress goes."""
    print(line, file=sys.stderr, flush=True)
