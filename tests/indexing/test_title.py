from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_pod.corpus.split import TrainingPart
from peft_pod.indexing import TitleIndexing

from .training_parts import make_train


def titled(titles: list[str], num_users: int = 2) -> TrainingPart:
    return replace(make_train([[0]] * num_users, len(titles)), item_titles=titles)


@pytest.mark.parametrize(
    ("title", "word"),
    [
        ("Mint Soap Bar", "Mint_Soap_Bar"),
        ("  Soap,  100 % natural (2-pack) ", "Soap_100_natural_2_pack"),
        ("one two three four five six seven", "one_two_three_four_five_six"),
        ("Amélie", "Amélie"),
        ("ﬁne ½ ＳＯＡＰ", "fine_1_2_SOAP"),
        ("Ame\u0301lie x\u0301y", "Amélie_x\u0301y"),
        ("हिन्दी किताब", "हिन्दी_किताब"),
        ("ภาษาไทย ดี!", "ภาษาไทย_ดี"),
        ("كِتَابٌ، جديد", "كِتَابٌ_جديد"),
        ("\u200fספר\u200f טוב", "ספר_טוב"),
        ("可愛い・本", "可愛い_本"),
        ("❤\ufe0f Soap 👍🏽", "Soap"),
        ("1\ufe0f\u20e3 \u0301soap", "1_soap"),
        ("❤\ufe0f👍🏽", "item_1"),
        ("Die Hard <3>", "Die_Hard_3"),
        ("a" * 90, "a" * 60),
        ("user_12", "user_12_2"),
        ("...", "item_1"),
        ("", "item_1"),
        ("Item", "Item"),
    ],
)
def test_titles_become_words(title: str, word: str) -> None:
    assert TitleIndexing().fit(titled([title])).item_words == (word,)


def test_a_number_tells_equal_titles_apart_and_follows_no_order_of_the_catalogue() -> None:
    titles = ["Soap", "Brush", "SOAP", "soap", "Soap 2"]
    orders = set()
    for seed in range(20):
        words = TitleIndexing().fit(titled(titles), seed).item_words
        assert words[1] == "Brush"
        assert len({word.casefold() for word in words}) == 5
        assert all(word.casefold().startswith("soap") for word in (words[0], *words[2:]))
        orders.add(words)
    assert len(orders) > 3


def test_hundreds_of_equal_titles_are_numbered() -> None:
    words = TitleIndexing().fit(titled(["Soap"] * 500)).item_words
    assert set(words) == {"Soap", *(f"Soap_{number}" for number in range(2, 501))}


@pytest.mark.parametrize("separator", ["", "__", " ", "a", "7", "<", ">", "\u0301", "\u200d", "\u00a0"])
def test_what_cannot_stand_between_words_is_refused(separator: str) -> None:
    with pytest.raises(ValueError, match="separator must be a single punctuation mark or symbol other than < and >"):
        TitleIndexing(separator=separator)


def test_words_are_cut_and_joined_as_asked() -> None:
    words = TitleIndexing(max_words=2, separator="▁").fit(titled(["Mint Soap Bar", "Mint Soap Box"])).item_words
    assert set(words) == {"Mint▁Soap", "Mint▁Soap▁2"} or set(words) == {"Mint▁Soap▁2", "Mint▁Soap"}
    assert TitleIndexing(max_words=2, separator="▁").options() == {"max_words": 2, "separator": "▁", "users": "index"}


@settings(deadline=None)
@given(titles=st.lists(st.text(max_size=12) | st.sampled_from(["a b", "A B", "item", "user_1", "a b 2"]), min_size=1))
def test_any_titles_give_distinct_words(titles: list[str]) -> None:
    indexing = TitleIndexing().fit(titled(titles))
    assert len({word.casefold() for word in indexing.item_words}) == len(titles)
