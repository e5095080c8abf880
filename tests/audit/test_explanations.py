from __future__ import annotations

from dataclasses import replace

import pytest

from peft_pod.audit import audit
from peft_pod.audit.explanations import check_explanations, remark_repeated_sentences
from peft_pod.corpus import Corpus, Explanation, load_corpus

from .cases import case_of, corpus_of, drawn_histories

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
    assert (finding.name, finding.count, finding.severity) == ("explanations made from held-out data", 1, "leak")
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


def test_sentences_chosen_for_another_split(tmp_path) -> None:
    """Which sentence is chosen depends on the training part, so that of one split is not fit for another."""
    temporal = {"validation_fraction": 0.1, "test_fraction": 0.1}
    corpus = load_corpus("embedded", num_users=100)
    chosen = corpus.with_explanations(split="temporal", split_settings=temporal)
    chosen.save_to_disk(tmp_path / "saved")
    for explained in (chosen, Corpus.load_from_disk(tmp_path / "saved")):
        (finding,) = audit(explained, "random").findings
        assert (finding.name, finding.severity) == ("explanations made from held-out data", "leak")
        assert finding.count == len(explained.split().train.explanations)
        assert "the explanations were chosen for {'split': 'temporal'" in finding.description
        assert "with_explanations" in finding.fix
        assert audit(explained, "random", explained.split("temporal", **temporal)).findings == []
    assert audit(corpus.with_explanations(), "random").findings == []


def test_interactions_that_changed_after_the_choice() -> None:
    chosen = load_corpus("embedded", num_users=100).with_explanations()
    (finding,) = audit(chosen.prepare(k_core_users=25), "random").findings
    assert "the interactions are not those that the explanations were chosen for" in finding.description


def test_held_out_sentences_written_over_training_ones() -> None:
    """There are no reviews; half of the users say in training what is held out, and nobody says anything twice."""
    histories = drawn_histories(60, 40, 5)
    own = [
        (user, items[place], f"user {user} says {place}") for user, items in enumerate(histories) for place in (0, 1)
    ]
    held_out = [(user, items[-1], f"user {user} says at last") for user, items in enumerate(histories)]
    copies = [(user, item, held_out[user][2] if user % 2 and place == 0 else text)
              for place, (user, item, text) in zip([0, 1] * 60, own, strict=True)]  # fmt: skip
    (finding,) = check_explanations(case_of(corpus_of(histories, 40, explanations=copies + held_out)))
    assert (finding.count, finding.severity) == (30, "leak")
    assert check_explanations(case_of(corpus_of(histories, 40, explanations=own + held_out))) == []


def test_users_who_repeat_themselves_do_so_everywhere() -> None:
    histories = drawn_histories(60, 40, 5)
    said = [(user, item, f"user {user} always says this") for user, items in enumerate(histories) for item in items]
    assert check_explanations(case_of(corpus_of(histories, 40, explanations=said))) == []
