from __future__ import annotations

import pytest

from peft_pod.tasks import SamplesOnDemand, SequentialTask


def make(place):
    return SequentialTask().query(place, [place + 10])


def test_samples_are_those_of_a_list():
    samples, kept = SamplesOnDemand(7, make), [make(place) for place in range(7)]
    assert len(samples) == 7
    assert list(samples) == kept
    assert samples == kept
    assert samples != kept[1:]
    assert samples[-1] == kept[-1]
    for some in (slice(2, 6), slice(None, None, -2), slice(5, 2)):
        assert samples[some] == kept[some]
    assert samples[1:6][1:][::2] == kept[1:6][1:][::2]
    with pytest.raises(IndexError):
        samples[7]


def test_none_is_made_before_it_is_asked_for():
    made = []
    samples = SamplesOnDemand(1_000_000, lambda place: made.append(place) or make(place))
    assert len(samples[10:]) == 999_990
    assert samples[10:][5].user == 15
    assert made == [15]
