from __future__ import annotations

from benchmarks.quality.examples import Example, good_and_bad, sentence_bleu


def example(written, bleu):
    return Example("item", "", "truth", written, bleu)


def test_the_best_and_the_worst_are_chosen_and_no_sentence_twice():
    rows = [
        example("a", 9.0),
        example("a", 8.0),
        example("b", 7.0),
        example("c", 1.0),
        example("c", 0.5),
        example("d", 2.0),
    ]
    chosen = good_and_bad(rows, seed=0, each=2)
    assert [(one.written, one.bleu) for one in chosen["good"]] == [("a", 9.0), ("b", 7.0)]
    assert [(one.written, one.bleu) for one in chosen["bad"]] == [("c", 0.5), ("d", 2.0)]


def test_the_seed_decides_among_equals():
    rows = [example(str(n), 0.0) for n in range(50)]
    chosen = [good_and_bad(rows, seed)["bad"] for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_few_sentences_are_never_good_and_bad_at_once():
    assert good_and_bad([example("a", 1.0)], seed=0) == {"good": [example("a", 1.0)], "bad": []}


def test_bleu_of_a_sentence_is_that_of_the_orders_it_has():
    # Two words of two are right, and the brevity penalty is exp(1 − 4 / 2).
    assert sentence_bleu("the soap", "the soap is good") == 36.79
    assert sentence_bleu("the soap is good", "the soap is good") == 100
    assert sentence_bleu("no", "the soap is good") == 0
