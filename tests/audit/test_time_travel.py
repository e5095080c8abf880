from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from peft_pod.audit import audit
from peft_pod.audit.time_travel import check_time_travel
from peft_pod.corpus import Ragged

from .cases import GivenWords, case_of, corpus_of

HISTORIES = [[0, 1, 2], [3, 4, 0], [2, 4, 1, 3, 0]]
# The first user's held-out items are older than everything of the third.
TIMES = [[10, 20, 30], [15, 25, 60], [70, 80, 90, 95, 99]]


def test_leave_one_out_has_it_by_design() -> None:
    (finding,) = check_time_travel(case_of(corpus_of(HISTORIES, 5, TIMES)))
    # The held-out interaction at 20 is the oldest; the training ones at 70, 80 and 90 are later.
    assert (finding.name, finding.count, finding.severity) == ("later training data under leave-one-out", 3, "remark")
    assert "So many of 5 training interactions" in finding.description
    assert "66.7% of the test items have later training interactions" in finding.description


def test_the_rule_recommends_what_is_frequent_later() -> None:
    """The test items are 2, 0, 0: 2 is among what training has after 30, 0 is not after 60, and nothing is after 99.

    Before, training has 0 and 3, then the same, then all.
    """
    (finding,) = check_time_travel(case_of(corpus_of(HISTORIES, 5, TIMES)))
    assert finding.metrics["HR@10"] == pytest.approx(1 / 3)
    assert "before it has HR@10 0.6667" in finding.description


def test_a_temporal_claim_makes_it_a_leak() -> None:
    corpus = corpus_of(HISTORIES, 5, TIMES)
    (finding,) = check_time_travel(case_of(corpus, temporal=True))
    assert (finding.name, finding.count, finding.severity) == ("time travel", 3, "leak")
    words = GivenWords(range(5), range(3)).fit(corpus.split().train)
    assert not audit(corpus, words).leaks
    assert [finding.name for finding in audit(corpus, words, temporal=True).findings] == ["time travel"]


def test_a_temporal_split_has_none() -> None:
    corpus = corpus_of(HISTORIES, 5, [[10, 20, 30], [15, 25, 60], [12, 22, 28, 35, 99]])
    split = corpus.split("temporal", validation_cut=26, test_cut=30)
    assert check_time_travel(case_of(corpus, split=split, temporal=True)) == []


def test_a_split_whose_training_part_was_tampered_with() -> None:
    """One training interaction is later than the cut: what a bug of a split would leave behind."""
    corpus = corpus_of(HISTORIES, 5, [[10, 20, 30], [15, 25, 60], [12, 22, 28, 35, 99]])
    split = corpus.split("temporal", validation_cut=26, test_cut=30)
    times = np.array(split.train.timestamps.values)
    times[-1] = 64
    late = replace(split, train=replace(split.train, timestamps=Ragged(times, split.train.timestamps.offsets)))
    words = GivenWords(range(5), range(3)).fit(split.train)
    found = audit(corpus, words, late)
    assert [(finding.name, finding.count) for finding in found.findings] == [("time travel", 1)]


def test_places_are_no_times() -> None:
    corpus = corpus_of(HISTORIES, 5)
    found = audit(corpus, GivenWords(range(5)).fit(corpus.split().train), temporal=True)
    assert found.checks["time travel"].startswith("the timestamps are places")
    assert not found.leaks
