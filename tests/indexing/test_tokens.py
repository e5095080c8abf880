from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peft_pod.indexing.numbers import even_width, numbered, numbered_on
from peft_pod.indexing.tokens import new_tokens, word_tokens

tokens_strategy = st.lists(
    st.tuples(st.sampled_from(["a", "b", "user"]), st.integers(0, 99)).map("<{0[0]}_{0[1]}>".format), min_size=1
)


@given(tokens=tokens_strategy)
def test_a_word_made_of_tokens_is_cut_into_them(tokens: list[str]) -> None:
    assert word_tokens("".join(tokens)) == tokens


@pytest.mark.parametrize("word", ["item_1", "<a_1>x", "x<a_1>", "<a_1", "a_1>", "<>", "<a><", "<<a>>"])
def test_other_words_have_no_tokens(word: str) -> None:
    assert word_tokens(word) == []


@given(words=st.lists(tokens_strategy.map("".join)))
def test_all_tokens_are_listed_once_by_name_and_number(words: list[str]) -> None:
    listed = new_tokens([*words, "item_7"])
    assert len(set(listed)) == len(listed)
    assert set(listed) == {token for word in words for token in word_tokens(word)}
    keys = [(token[1:-1].split("_")[0], int(token[1:-1].split("_")[1])) for token in listed]
    assert keys == sorted(keys)


@given(order=st.permutations(range(12)), first=st.integers(1, 12), pad=st.booleans())
def test_numbers_go_on_where_they_ended(order: list[int], first: int, pad: bool) -> None:
    import numpy as np

    old, new = order[:first], order[first:]
    places = {position: place for place, position in enumerate(sorted(old))}
    named = numbered("item_{}", np.array([places[position] for position in old]), pad)
    words = [named[places[position]] if position in places else None for position in range(12)]
    grown = numbered_on("item_{}", words, new)
    assert [grown[position] for position in sorted(old)] == named
    assert [int(grown[position][5:]) for position in order] == list(range(1, 13))
    if pad and first % 2 == 0:
        assert len({len(word) for word in grown}) == 1


def test_widths_are_even() -> None:
    assert [even_width(number) for number in (0, 9, 10, 99, 100, 12101)] == [2, 2, 2, 2, 4, 6]
