from __future__ import annotations

import random

import pytest

from peft_pod.training.run_length import Cadence
from peft_pod.training.time_limit import Costs, most_steps


def test_what_is_left_of_a_run():
    costs = Costs(step=1.0, validation=5.0, checkpoint=2.0)
    every = Cadence(4), Cadence(4)
    # Validated and saved after steps 4 and 8, and at the end.
    assert costs.left(0, 8, *every) == 8 + 2 * 7
    assert costs.left(0, 9, *every) == 9 + 3 * 7
    # After step 4 what is due then is still to be done.
    assert costs.left(4, 9, *every) == 5 + 3 * 7
    assert costs.left(5, 9, *every) == 4 + 2 * 7
    assert costs.left(9, 9, *every) == 7
    assert costs.left(5, 9, Cadence(None), Cadence(None)) == 4


def test_the_most_steps_are_those_that_a_search_of_all_finds():
    drawn = random.Random(0)
    for _ in range(300):
        costs = Costs(drawn.uniform(0.1, 2), drawn.uniform(0, 5), drawn.uniform(0, 3))
        every = Cadence(drawn.randint(1, 9)), Cadence(drawn.choice([None, 3]))
        first, most = drawn.randint(0, 5), drawn.randint(6, 60)
        seconds = drawn.uniform(0, 90)

        def cost(last, costs=costs, first=first, every=every):
            return costs.left(first, last, *every)

        fitting = [steps for steps in range(first, most + 1) if cost(steps) <= seconds]
        assert most_steps(seconds, first, most, cost) == max(fitting, default=first - 1)


@pytest.mark.parametrize("seconds", range(3, 60, 4))
def test_what_is_found_fits_where_the_cost_does_not_quite_grow(seconds):
    """Trap: 11 steps with a validation after each tenth, rounded up, have fewer validations than 10."""

    def cost(steps):
        return steps + 2 * Cadence(-(-steps // 10)).count(1, steps)

    assert cost(11) < cost(10)
    found = most_steps(seconds, 1, 40, cost)
    assert cost(found) <= seconds
