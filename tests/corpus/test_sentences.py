from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peft_pod.corpus.sentences import clean, split_sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("It works. It lasts! Does it? Yes", ["It works.", "It lasts!", "Does it?", "Yes"]),
        ("all in small letters. works fine. done", ["all in small letters.", "works fine.", "done"]),
        ("Dr. Bob and Mr. J. Smith agree. St. Louis too.", ["Dr. Bob and Mr. J. Smith agree.", "St. Louis too."]),
        ("A 6 in. cable, e.g. for pedals etc. is short. Buy", ["A 6 in. cable, e.g. for pedals etc. is short.", "Buy"]),
        ("Cords, pedals, etc. The rest is fine.", ["Cords, pedals, etc.", "The rest is fine."]),
        ("It costs $4.50 and weighs 1.5 lbs.", ["It costs $4.50 and weighs 1.5 lbs."]),
        ("It cost $20. Five stars.", ["It cost $20.", "Five stars."]),
        ("Filter no. 5 fits. No. 6 does not. No. Really.", ["Filter no. 5 fits.", "No. 6 does not.", "No.", "Really."]),
        ("Plug it in. sounds good. 6 fl. oz. of oil", ["Plug it in.", "sounds good.", "6 fl. oz. of oil"]),
        ("1. Plug it in. 2. Play.", ["1. Plug it in.", "2. Play."]),
        ("Well... it works. Then... Nothing.", ["Well... it works.", "Then...", "Nothing."]),
        ("Quite affordable.I like it.It holds", ["Quite affordable.", "I like it.", "It holds"]),
        ("the strings sound good.change yours now", ["the strings sound good.", "change yours now"]),
        ("Great!Love it!!!Really?yes", ["Great!", "Love it!!!", "Really?", "yes"]),
        ("Bought at Amazon.com and shop.net today.", ["Bought at Amazon.com and shop.net today."]),
        ("Made in the U.S. and sold via P.A. systems.", ["Made in the U.S. and sold via P.A. systems."]),
        ("It is mine and only I. You too.", ["It is mine and only I.", "You too."]),
        ("The Elixir's. These are D'Addario's.", ["The Elixir's.", "These are D'Addario's."]),
        ("I like it. :) It works :-( Sad. <3", ["I like it. :)", "It works :-(", "Sad. <3"]),
        ('He said "wow." Then he (really!) left.', ['He said "wow."', "Then he (really!) left."]),
        ("one line\nanother  line\r\n\n third\tone", ["one line", "another line", "third one"]),
        ("", []),
        (" \n ", []),
        ("...", ["..."]),
    ],
)
def test_by_hand(text: str, sentences: list[str]):
    assert split_sentences(text) == sentences


@given(st.text(alphabet=st.sampled_from("aB1 .!?\n:)'\"etcDr<"), max_size=60))
def test_nothing_is_lost_or_added(text: str):
    sentences = split_sentences(text)
    assert "".join("".join(sentences).split()) == "".join(text.split())
    assert all(sentence == " ".join(sentence.split()) != "" for sentence in sentences)


@given(st.text(max_size=80))
def test_any_text_can_be_cleaned_and_split(text: str):
    for sentence in split_sentences(clean(text)):
        assert "\n" not in sentence


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("1/4&#34; &amp; &quot;loud&quot;", '1/4" & "loud"'),
        ("cr&egrave;me", "crème"),
        ("<b>Bold</b> and 3 < 4 > 2 <3", " Bold  and 3 < 4 > 2 <3"),
        ("one<br />two<P>three</p>", "one\ntwo\nthree\n"),
        ('<div id="video" class="a"></div><input value="https://a.example/b.mp4">Fine', "   Fine"),
        ("see https://a.example/b?c=d or www.e.example now", "see   or   now"),
        ("<!-- hidden > words -->shown", " shown"),
    ],
)
def test_cleaning_by_hand(text: str, cleaned: str):
    assert clean(text) == cleaned


@pytest.mark.parametrize("text", ["a." * 50_000, "<" * 50_000, "!" * 50_000, "<!--" * 5_000, ":) " * 20_000])
def test_odd_texts_take_no_longer_than_others(text: str):
    started = time.process_time()
    split_sentences(clean(text))
    assert time.process_time() - started < 2
