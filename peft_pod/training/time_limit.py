"""How many steps fit into a time, validations and checkpoints counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .run_length import Cadence

RESERVE = 0.03
"""The share of the time that a plan leaves free, since no two measurements of a step agree."""


@dataclass(frozen=True)
class Costs:
    """What the parts of a run take.

    Attributes:
        step: seconds of a step on average, over the tasks that take turns.
        validation: seconds of taking all validation losses once.
        checkpoint: seconds of writing one.
    """

    step: float
    validation: float = 0.0
    checkpoint: float = 0.0

    def left(self, done: int, last: int, validations: Cadence, checkpoints: Cadence) -> float:
        """The seconds that a run still takes, right after a step and before what is to be done after that step.

        Args:
            done: steps that were taken.
            last: the step that is the last of the run.
            validations: when they are taken.
            checkpoints: when they are written.

        Example:
            >>> Costs(step=1, validation=10).left(0, 6, Cadence(every=4), Cadence(None))
            26.0
        """
        extra = validations.count(done, last) * self.validation + checkpoints.count(done, last) * self.checkpoint
        return (last - done) * self.step + extra


def most_steps(seconds: float, fewest: int, most: int, cost: Callable[[int], float]) -> int:
    """The largest number of steps whose cost fits.

    Args:
        seconds: that there are.
        fewest: steps.
        most: steps.
        cost: the seconds of a number of steps. It is taken to grow with it; where it does not quite, as with
            validations after each tenth of a run, what is returned fits, but may not be the largest that does.

    Returns:
        From `fewest` to `most`, or `fewest - 1` where not even these fit.

    Example:
        >>> [most_steps(seconds, 1, 100, cost=lambda steps: 3.0 * steps) for seconds in (2.0, 10.0, 300.0)]
        [0, 3, 100]
    """
    if cost(most) <= seconds:
        return most
    low, high = fewest - 1, most - 1
    while low < high:
        middle = (low + high + 1) // 2
        if cost(middle) <= seconds:
            low = middle
        else:
            high = middle - 1
    return low
