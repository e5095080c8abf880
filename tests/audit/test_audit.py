"""The whole audit, on corpora as they are."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from peft_pod.audit import Audit, audit, nothing_to_audit
from peft_pod.corpus import Corpus, load_corpus
from peft_pod.indexing import LeakWarning, available_indexings, load_indexing
from peft_pod.indexing.paper import LEAK_WARNING
from tests.corpora import real_data

from .cases import GivenWords, corpus_of, drawn_histories

SCHEMES = [name for name in available_indexings() if not load_indexing(name).leaks]
RULES = ["index arithmetic: largest index + 1", "index arithmetic: largest index + 1, last index + 1"]


@cache
def corpus(name: str) -> Corpus:
    if name == "small":
        return load_corpus("embedded", num_users=100)
    return load_corpus(name, None if name == "embedded" else real_data(name))


def audited(name: str, indexing: str) -> Audit:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeakWarning)
        return audit(corpus(name), indexing)


@pytest.mark.parametrize(
    "name",
    [
        "small",
        pytest.param("embedded", marks=pytest.mark.slow),
        pytest.param("movielens-100k", marks=pytest.mark.slow),
        "amazon-2014/beauty",
        pytest.param("amazon-2014/sports", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_schemes_that_do_not_leak(name: str, scheme: str) -> None:
    assert audited(name, scheme).findings == []


@pytest.mark.parametrize("name", ["small", "embedded", "movielens-100k"])
def test_the_paper_s_order_leaks(name: str) -> None:
    names = [finding.name for finding in audited(name, "paper").findings]
    assert names == [*RULES, "held-out items in ID order"]


@pytest.mark.parametrize(
    ("name", "figures", "users"),
    [
        ("amazon-2014/beauty", ((0.0441, 0.0463, 0.0450), (0.0441, 0.0548, 0.0497)), (0.0463, 0.0698, 0.0568)),
        ("amazon-2014/sports", ((0.0414, 0.0433, 0.0423), (0.0414, 0.0475, 0.0444)), (0.0509, 0.0663, 0.0580)),
    ],
)
def test_the_corpora_of_the_paper(name: str, figures: tuple, users: tuple[float, ...]) -> None:
    """The figures of the two rules are known; those of the users' order were found by this audit."""
    found = {finding.name: finding for finding in audited(name, "paper").findings}
    assert list(found) == [*RULES, "held-out items in ID order", "user IDs tell held-out items"]
    for rule, expected in zip([*RULES, "user IDs tell held-out items"], [*figures, users], strict=True):
        metrics = found[rule].metrics
        assert [round(metrics[metric], 4) for metric in ("HR@1", "HR@10", "NDCG@10")] == list(expected)


def test_the_paper_s_warning_stays_with_the_verdict() -> None:
    found = audited("small", "paper")
    assert found.note().endswith(LEAK_WARNING)
    assert found.to_dict()["warning"] == LEAK_WARNING
    assert audited("small", "random").warning == ""


@pytest.mark.parametrize("name", ["small", "movielens-100k"])
def test_the_order_is_found_without_the_scheme_saying_so(name: str) -> None:
    """Words that came with the data, whatever they are called."""
    split = corpus(name).split()
    with pytest.warns(LeakWarning):
        words = load_indexing("paper").fit_split(split).item_words
    given = GivenWords([word.removeprefix("item_") for word in words]).fit(split.train)
    assert [finding.name for finding in audit(corpus(name), given, split).findings] == [
        *RULES,
        "held-out items in ID order",
    ]


def test_the_fingerprint_is_of_data_and_words() -> None:
    first = audited("small", "random").fingerprint
    assert first == audit(corpus("small"), load_indexing("random").fit(corpus("small").split().train)).fingerprint
    assert first != audited("small", "sequential").fingerprint
    assert first != audit(corpus("small"), "random", seed=1).fingerprint
    histories = drawn_histories(5, 20, 4)
    swapped = [[*histories[0][:-2], histories[0][-1], histories[0][-2]], *histories[1:]]
    one, other = (corpus_of(data, 20) for data in (histories, swapped))
    words = GivenWords(range(20)).fit(one.split().train)
    assert audit(one, words).fingerprint != audit(other, words).fingerprint


def test_the_method_of_a_corpus() -> None:
    data = corpus("small")
    split = data.split()
    words = load_indexing("sequential").fit(split.train)
    assert data.audit(words) == data.audit(words, split) == audit(data, words, split)
    assert next(remark.name for remark in data.audit(words).remarks) == "later training data under leave-one-out"


def test_a_scheme_that_is_not_fitted_stays_so() -> None:
    scheme = load_indexing("random")
    assert audit(corpus("small"), scheme, seed=3) == audit(corpus("small"), "random", seed=3)
    with pytest.raises(RuntimeError, match="no words yet"):
        _ = scheme.item_words


def test_a_temporal_split() -> None:
    data = corpus("small")
    split = data.split("temporal", validation_fraction=0.1, test_fraction=0.1)
    for scheme in ("random", "sequential"):
        found = data.audit(load_indexing(scheme).fit_split(split), split)
        assert (found.findings, found.split, found.checks["time travel"]) == ([], "temporal", "done")


def test_candidates_are_looked_at() -> None:
    data = corpus("small")
    split = data.split()
    answers = split.test_items[split.evaluated_users("test")]
    first = [np.array([answer, (answer + 1) % 300]) for answer in answers.tolist()]
    names = [finding.name for finding in data.audit("random", candidates=first).findings]
    assert "negatives told by position" in names


def test_where_nothing_is_held_out_the_verdict_is_that_it_does_not_apply() -> None:
    data = corpus_of([[0, 1], [2]], 3)
    found = nothing_to_audit(data, load_indexing("random").fit(data.split().train), data.split())
    assert (found.leaks, found.applies, found.findings) == (False, False, [])
    assert found.checks.keys() == audited("small", "random").checks.keys()
    assert "no leak found" not in found.note()
    assert found.note().endswith(
        "with indexing 'random': not applicable (nobody has a test item: the split 'leave-one-out' holds items of "
        "users with at least 3 interactions out, and the most that a user has is 2)."
    )
    assert audited("small", "random").applies


def test_what_cannot_be_audited() -> None:
    data = corpus_of(drawn_histories(5, 20, 4), 20)
    words = GivenWords(range(20)).fit(data.split().train)
    with pytest.raises(ValueError, match="nobody has a test item"):
        corpus_of([[0, 1], [2]], 3).audit("random")
    other = corpus_of(drawn_histories(5, 20, 4, seed=1), 20)
    with pytest.raises(ValueError, match="the split is not of corpus 'case'"):
        audit(data, words, other.split())
    with pytest.raises(ValueError, match="has words for 20 items and 0 users, the split has 21 and 5"):
        audit(corpus_of(drawn_histories(5, 20, 4), 21), words)
    with pytest.raises(ValueError, match="unknown indexing 'papers'"):
        data.audit("papers")
    split = data.split()
    with pytest.raises(ValueError, match="the split is not of corpus"):
        audit(data, words, replace(split, later=split.later.take([1, 0, 2, 3, 4])))
