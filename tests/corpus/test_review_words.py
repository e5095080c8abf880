from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from peft_pod.corpus.review_words import BREAK, NUMBER, read_words, words_of
from peft_pod.corpus.sentences import clean, split_sentences


def test_by_hand():
    read = read_words(["The E-string of Martin is 1.5 m. THE end", "", "don’t"])
    assert read.sentences == ["The E-string of Martin is 1.5 m.", "THE end", "don’t"]
    assert read.sentence_texts.tolist() == [0, 0, 2]
    assert read.sentence_lengths.tolist() == [8, 2, 1]
    spelled = ["the", "e-string", "of", "martin", "is", "", "", "", "m", "", "", "the", "end", "", "don't", ""]
    assert [read.words[number] for number in read.tokens] == spelled
    assert read.tokens[5:8].tolist() == [NUMBER, BREAK, NUMBER]
    assert read.token_sentences.tolist() == [0] * 11 + [1] * 3 + [2] * 2
    assert read.token_texts.tolist() == [0] * 14 + [2] * 2
    # "The" begins a sentence and "THE" is all capitals: neither says that a word is a name.
    assert [read.words[number] for number in read.tokens[read.capitals]] == ["martin"]


def test_neighbours_end_with_the_sentence():
    read = read_words(["Nice mic. Fine"])
    spelled = [read.words[number] for number in (*read.before, *read.after)]
    assert spelled == ["", "nice", "mic", "", "", "fine", "mic", "", "", "fine", "", ""]


def test_among():
    read = read_words(["a nice mic"])
    assert dict(zip(read.words, read.among(["mic", "tone"]).tolist(), strict=True)) == {
        "": False,
        "a": False,
        "nice": False,
        "mic": True,
    }


def test_no_text():
    read = read_words([])
    assert (read.sentences, read.tokens.tolist(), read.words) == ([], [], ["", ""])


@given(st.lists(st.text(alphabet="abCD 1.'-!", max_size=30), max_size=4))
def test_against_reading_one_sentence_after_the_other(texts: list[str]):
    read = read_words(texts)
    sentences = [sentence for text in texts for sentence in split_sentences(clean(text))]
    assert read.sentences == sentences
    expected = []
    for sentence in sentences:
        expected += [word if word[0].isalpha() else "" for word in words_of(sentence)] + [""]
    assert [read.words[number] for number in read.tokens] == expected
    lengths = [len(re.findall(r"[a-z]+(?:['-][a-z]+)*|\d+", sentence.lower())) for sentence in sentences]
    assert read.sentence_lengths.tolist() == lengths
