from __future__ import annotations

import itertools
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_pod.processing import MixedBatchSampler, SampleKey, TaskAlternatingBatchSampler
from peft_pod.processing.sampler import TaskBatchSampler

SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=4)


def keys_of(sampler):
    return [key for batch in sampler for key in batch]


def length(key):
    return (key.index * 7919 + key.round * 104729) % 13, key.task


@settings(max_examples=80)
@given(SIZES, st.integers(1, 9), st.integers(1, 3), st.integers(0, 5), st.sampled_from([None, length]), st.data())
def test_an_epoch_has_the_samples_of_one_that_alternates(sizes, batch_size, processes, epoch, measure, data):
    tasks = data.draw(st.none() | st.lists(st.integers(0, len(sizes) - 1), min_size=1, unique=True))
    options = {"seed": 1, "num_processes": processes, "tasks": tasks, "length": measure, "window": 3}
    mixed, alternating = (
        kind(sizes, batch_size, **options) for kind in (MixedBatchSampler, TaskAlternatingBatchSampler)
    )
    for sampler in (mixed, alternating):
        sampler.set_epoch(epoch)
    batches = list(mixed)
    assert len(batches) == len(mixed) == len(alternating)
    assert all(len(batch) == batch_size for batch in batches)
    assert Counter(keys_of(mixed)) == Counter(keys_of(alternating))
    assert batches == list(mixed)


@settings(max_examples=40)
@given(SIZES, st.integers(1, 5), st.integers(1, 3), st.integers(0, 3), st.sampled_from([None, length]))
def test_ranks_together_see_the_batches_of_one_process(sizes, batch_size, processes, epoch, measure):
    one = MixedBatchSampler(sizes, batch_size * processes, seed=2, length=measure, window=2)
    several = MixedBatchSampler(sizes, batch_size, seed=2, num_processes=processes, length=measure, window=2)
    for sampler in (one, several):
        sampler.set_epoch(epoch)
    batches = list(several)
    steps = [batches[start : start + processes] for start in range(0, len(batches), processes)]
    assert [list(itertools.chain(*step)) for step in steps] == list(one)


def test_epochs_and_seeds_are_dealt_out_anew():
    def turns(seed, epoch):
        sampler = MixedBatchSampler([300, 200, 90], 10, seed=seed)
        sampler.set_epoch(epoch)
        return [key.task for key in keys_of(sampler)]

    orders = [turns(seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    for first, second in itertools.combinations(orders, 2):
        # Of two independent orders of three tasks a third of the places agree; four standard errors are .063.
        assert np.mean(np.array(first) == np.array(second)) == pytest.approx(1 / 3, abs=0.063)


def test_every_order_of_tasks_is_as_likely():
    """Two samples of each of two tasks have six orders; a batch of two is of one task in two of six, twice."""
    seen = Counter(tuple(key.task for key in keys_of(MixedBatchSampler([2, 2], 2, seed=seed))) for seed in range(3000))
    assert len(seen) == 6
    # Four standard errors of a count with probability 1/6.
    assert all(abs(count - 500) < 4 * 20.4 for count in seen.values())


def test_which_sample_stands_where_does_not_depend_on_its_number():
    counts = Counter(
        next(key.index for key in keys_of(MixedBatchSampler([8, 4], 2, seed=seed)) if key.task == 0)
        for seed in range(2000)
    )
    assert set(counts) == set(range(8))
    assert all(abs(count - 250) < 4 * 14.8 for count in counts.values())


def test_a_small_task_goes_through_its_samples_again_all_over_the_epoch():
    batches = list(MixedBatchSampler([1000, 10], 20, seed=3))
    small = [key for batch in batches for key in batch if key.task == 1]
    assert small[:10] == [SampleKey(1, key.index, 0) for key in small[:10]]
    assert [key.round for key in small] == sorted(list(range(100)) * 10)
    # About half of each batch: no stretch of the epoch is without the task, or has it alone.
    for start in range(0, 100, 10):
        stretch = itertools.chain(*batches[start : start + 10])
        assert 0.3 < np.mean([key.task for key in stretch]) < 0.7


def test_windows_are_sorted_whatever_the_tasks():
    plain = keys_of(MixedBatchSampler([60, 25], 5, seed=4))
    bucketed = list(MixedBatchSampler([60, 25], 5, seed=4, length=length, window=4))
    for start in range(0, len(bucketed), 4):
        window = bucketed[start : start + 4]
        # The samples are as they were, and batches do not overlap in length.
        assert Counter(itertools.chain(*window)) == Counter(plain[5 * start : 5 * start + 20])
        ranges = sorted((min(map(length, batch)), max(map(length, batch))) for batch in window)
        assert all(low[1] <= high[0] for low, high in itertools.pairwise(ranges))
    assert bucketed != sorted(bucketed, key=lambda batch: min(map(length, batch)))


def test_the_first_keys_of_a_long_epoch_take_little_memory():
    tracemalloc.start()
    try:
        batches = iter(MixedBatchSampler([3_000_000, 10], 4))
        first = [next(batches) for _ in range(4)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert {key.task for keys in first for key in keys} == {0, 1}
    # Four bytes a sample of the large task and one each of all six million, not the hundred of a key.
    assert peak < 3_000_000 * 6.5


@pytest.mark.parametrize(("sizes", "batch_size"), [([], 2), ([3, 0], 2), ([3], 0)])
def test_arguments_are_checked(sizes, batch_size):
    with pytest.raises(ValueError, match=r"training samples|must be positive"):
        MixedBatchSampler(sizes, batch_size)
    with pytest.raises(ValueError, match="tasks must be some of 0 to 1"):
        MixedBatchSampler([3, 3], 2, tasks=[2])


def test_what_samplers_share_is_none_by_itself():
    with pytest.raises(TypeError, match="abstract"):
        TaskBatchSampler([3], 2)
