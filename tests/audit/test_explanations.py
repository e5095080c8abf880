from __future__ import annotations

from dataclasses import replace

import pytest

from peft_pod.audit.explanations import check_explanations, remark_repeated_sentences
from peft_pod.corpus import Explanation

from .cases import case_of, corpus_of

HISTORIES = [[0, 1, 2, 3], [1, 2, 0], [3, 0, 1]]
SENTENCE = "It smells of mint and lasts."


def case_with(sentences, reviews=None, added=()):
    corpus = corpus_of(HISTORIES, 5, reviews=reviews, explanations=sentences)
    split = corpus.split()
    train = replace(split.train, explanations=[*split.train.explanations, *added])
    return case_of(corpus, split=replace(split, train=train))


def test_a_split_by_the_library_has_none() -> None:
    assert check_explanations(case_with([(0, 0, SENTENCE), (0, 3, "The brush is sturdy enough.")])) == []


@pytest.mark.parametrize("item", [2, 3])
def test_a_sentence_about_a_held_out_interaction(item: int) -> None:
    (finding,) = check_explanations(
        case_with([(0, 0, SENTENCE)], added=[Explanation(0, item, "The brush is sturdy enough.", "")])
    )
    assert (finding.count, finding.severity) == (1, "leak")
    # Item 3 is the test item of one of three users; item 2 is the validation item.
    assert finding.metrics["HR@1"] == pytest.approx((item == 3) / 3)


def test_words_of_a_held_out_review() -> None:
    """The sentence is said to be of item 0, and stands in the review of item 3."""
    reviews = [["Nice.", "", "", f"What a brush! {SENTENCE}"], [""] * 3, [""] * 3]
    (finding,) = check_explanations(case_with([(0, 0, SENTENCE)], reviews))
    assert (finding.count, finding.metrics["HR@10"]) == (1, 0.0)
    assert "0 are about one, 1 have words of its review" in finding.description


@pytest.mark.parametrize(
    "reviews",
    [
        [[SENTENCE, "", "", SENTENCE], [""] * 3, [""] * 3],
        [["Nice.", SENTENCE, "", ""], [""] * 3, [""] * 3],
        [[""] * 4, ["", "", SENTENCE], [""] * 3],
    ],
    ids=["of its own review too", "of another review in training", "of another user"],
)
def test_words_that_are_not_from_held_out_reviews(reviews) -> None:
    assert check_explanations(case_with([(0, 0, SENTENCE)], reviews)) == []


def test_short_sentences_are_written_again_and_again() -> None:
    reviews = [["", "", "", "Works great."], [""] * 3, [""] * 3]
    assert check_explanations(case_with([(0, 0, "Works great.")], reviews)) == []


def test_a_user_who_repeats_a_sentence_is_remarked_on() -> None:
    sentences = [(0, 0, SENTENCE), (0, 3, SENTENCE), (1, 0, SENTENCE), (2, 1, "Works."), (2, 3, "Works.")]
    (remark,) = remark_repeated_sentences(case_with(sentences))
    # Of three test sentences the first user's stands in their training part.
    assert (remark.count, remark.severity, remark.metrics["HR@1"]) == (1, "remark", pytest.approx(1 / 3))
    assert remark_repeated_sentences(case_with(sentences[:1])) == []
