from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_pod.generation.constraint import TrieConstraint
from peft_pod.generation.item_filter import ItemFilter
from peft_pod.generation.trie import ItemTrie

EOS, START, VOCABULARY = 1, 0, 12
SEQUENCES = [(5, 6), (5, 7), (5,), (8, 9, 5), (8, 9, 9)]
TRIE = ItemTrie(SEQUENCES, EOS)


def allowed_tokens(written: tuple[int, ...], items: list[int]) -> set[int]:
    """The oracle: the next tokens of the allowed items that are begun; only the end where no item is."""
    closed = [(*SEQUENCES[item], EOS) for item in range(len(SEQUENCES))]
    begun = any(sequence[: len(written)] == written and sequence != written for sequence in closed)
    if not begun:
        return {EOS}
    length = len(written)
    return {closed[item][length] for item in items if closed[item][:length] == written and len(closed[item]) > length}


def only(lists: list[list[int]]) -> ItemFilter:
    return ItemFilter(TRIE, batch_size=len(lists), only=lists)


def finite_tokens(row: torch.Tensor) -> set[int]:
    return set(torch.isfinite(row).nonzero().flatten().tolist())


@settings(deadline=None, max_examples=40)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from([(5, 6, EOS), (5, EOS, START), (8, 9, 5), (8, 9, 9), (5, 5, 5), (4, 6, 1), (5, 7, 11)]),
            st.lists(st.integers(0, len(SEQUENCES) - 1), min_size=1, max_size=len(SEQUENCES)),
        ),
        min_size=1,
        max_size=5,
    ),
    length=st.integers(0, 3),
    leading=st.integers(1, 3),
)
def test_open_tokens_are_those_of_allowed_items(
    rows: list[tuple[tuple[int, ...], list[int]]], length: int, leading: int
) -> None:
    written = [list(row[:length]) for row, _ in rows]
    input_ids = torch.tensor([[START] * leading + row for row in written])
    lists = [items for _, items in rows]
    scores = torch.randn(len(rows), VOCABULARY)
    before = scores.clone()

    masked = TrieConstraint(TRIE, 1, only(lists), num_leading_tokens=leading)(input_ids, scores)

    assert torch.equal(scores, before)
    assert not masked.isnan().any()
    for row, (tokens, items) in enumerate(zip(written, lists, strict=True)):
        until_end = tuple(tokens[: tokens.index(EOS) + 1]) if EOS in tokens else tuple(tokens)
        expected = allowed_tokens(until_end, items)
        assert finite_tokens(masked[row]) == expected
        kept = sorted(expected)
        assert masked[row, kept].tolist() == scores[row, kept].tolist()


def test_without_allowed_items_every_item_may_be_written() -> None:
    masked = TrieConstraint(TRIE, 1)(torch.tensor([[START, 5], [START, 8]]), torch.zeros(2, VOCABULARY))
    assert [finite_tokens(row) for row in masked] == [{EOS, 6, 7}, {9}]


def test_each_input_has_its_own_items_for_all_its_beams() -> None:
    constraint = TrieConstraint(TRIE, num_beams=2, allowed=only([[0], [1, 2, 4]]))
    input_ids = torch.tensor([[START, 5], [START, 8], [START, 5], [START, 8]])
    masked = constraint(input_ids, torch.zeros(4, VOCABULARY))
    assert [finite_tokens(row) for row in masked] == [{6}, set(), {EOS, 7}, {9}]


def test_of_equal_beams_only_the_first_goes_on() -> None:
    constraint = TrieConstraint(TRIE, num_beams=3)
    start = constraint(torch.full((6, 1), START), torch.zeros(6, VOCABULARY))
    assert [finite_tokens(row) for row in start] == [{5, 8}, set(), set()] * 2
    later = constraint(torch.tensor([[START, 5], [START, 8], [START, 5]] * 2), torch.zeros(6, VOCABULARY))
    assert [finite_tokens(row) for row in later] == [{EOS, 6, 7}, {9}, set()] * 2


def test_finished_and_dead_beams_write_the_end_at_its_own_score() -> None:
    scores = torch.arange(VOCABULARY, dtype=torch.float).repeat(2, 1) - 20
    masked = TrieConstraint(TRIE, 1)(torch.tensor([[START, 5, EOS], [START, 3, 3]]), scores)
    assert [finite_tokens(row) for row in masked] == [{EOS}, {EOS}]
    assert masked[:, EOS].tolist() == [-19.0, -19.0]
    assert masked[0, 0].item() == -math.inf


def test_arguments_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="num_beams must be at least 1, got 0"):
        TrieConstraint(TRIE, 0)
    with pytest.raises(ValueError, match="num_leading_tokens must be at least 1, got 0"):
        TrieConstraint(TRIE, 1, num_leading_tokens=0)
    ids = torch.full((3, 1), START)
    with pytest.raises(ValueError, match="3 rows, but allowed is for 2 inputs and num_beams is 1"):
        TrieConstraint(TRIE, 1, only([[0], [1]]))(ids, torch.zeros(3, VOCABULARY))
    with pytest.raises(ValueError, match="3 rows, which is no multiple of num_beams=2"):
        TrieConstraint(TRIE, 2)(ids, torch.zeros(3, VOCABULARY))
    with pytest.raises(ValueError, match="token 9, but the model's vocabulary ends at 8"):
        TrieConstraint(TRIE, 1)(ids, torch.zeros(3, 9))
    with pytest.raises(ValueError, match="1 tokens, but num_leading_tokens=2"):
        TrieConstraint(TRIE, 1, num_leading_tokens=2)(ids, torch.zeros(3, VOCABULARY))
