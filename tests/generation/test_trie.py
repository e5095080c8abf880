from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_pod.generation.index_table import IndexTable
from peft_pod.generation.trie import NO_NODE, ROOT, ItemTrie

EOS = 1
tokens = st.integers(2, 7)
catalogues = st.lists(
    st.lists(tokens, min_size=1, max_size=4).map(tuple), min_size=1, max_size=25, unique=True
).flatmap(st.permutations)


def prefixes(sequences: list[tuple[int, ...]]) -> dict[tuple[int, ...], set[int]]:
    """The oracle: every prefix of a closed sequence, and the items that it begins."""
    found: dict[tuple[int, ...], set[int]] = {}
    for item, sequence in enumerate(sequences):
        closed = (*sequence, EOS)
        for length in range(len(closed) + 1):
            found.setdefault(closed[:length], set()).add(item)
    return found


def node_of(trie: ItemTrie, prefix: tuple[int, ...]) -> int:
    node = torch.tensor([ROOT])
    for token in prefix:
        node = trie.step(node, torch.tensor([token]))
    return int(node)


def test_the_tables_of_a_small_trie_by_hand() -> None:
    # Depth first, children by token: 0 root, 1 [5], 2 [5 eos], 3 [5 6], 4 [5 6 eos], 5 [5 7], 6 [5 7 eos].
    trie = ItemTrie([[5, 6], [5, 7], [5]], EOS)
    assert trie.child_offsets.tolist() == [0, 1, 4, 4, 5, 5, 6, 6]
    assert trie.child_tokens.tolist() == [5, 1, 6, 7, 1, 1]
    assert trie.child_nodes.tolist() == [1, 2, 3, 5, 4, 6]
    assert trie.leaf_item.tolist() == [2, 0, 1]
    assert trie.leaf_start.tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert trie.leaf_end.tolist() == [3, 3, 1, 2, 2, 3, 3]
    assert (trie.num_items, trie.num_nodes, trie.max_depth, trie.common_prefix) == (3, 7, 3, (5,))


@pytest.mark.parametrize(
    ("sequences", "expected"),
    [([[4, 5]], (4, 5)), ([[4, 5], [4, 5, 6]], (4, 5)), ([[4, 5, 6], [4, 6, 6]], (4,)), ([[4], [5]], ())],
)
def test_the_common_prefix_leaves_every_item_its_own_ending(
    sequences: list[list[int]], expected: tuple[int, ...]
) -> None:
    assert ItemTrie(sequences, EOS).common_prefix == expected


@settings(deadline=None, max_examples=40)
@given(sequences=catalogues)
def test_nodes_are_the_prefixes_and_cover_their_items(sequences: list[tuple[int, ...]]) -> None:
    trie, oracle = ItemTrie(sequences, EOS), prefixes(sequences)
    assert trie.num_items == len(sequences)
    assert trie.num_nodes == len(oracle)
    assert trie.max_depth == max(map(len, sequences)) + 1
    nodes = {prefix: node_of(trie, prefix) for prefix in oracle}
    assert sorted(nodes.values()) == list(range(len(oracle)))
    for prefix, node in nodes.items():
        leaves = trie.leaf_item[trie.leaf_start[node] : trie.leaf_end[node]].tolist()
        assert sorted(leaves) == sorted(oracle[prefix])
        is_item = prefix[-1:] == (EOS,)
        assert trie.item(torch.tensor(node)).item() == (leaves[0] if is_item else -1)


@settings(deadline=None, max_examples=40)
@given(sequences=catalogues, row=st.lists(st.integers(0, 9), max_size=5))
def test_walking_finds_what_the_prefixes_hold(sequences: list[tuple[int, ...]], row: list[int]) -> None:
    trie, oracle = ItemTrie(sequences, EOS), prefixes(sequences)
    until_end = tuple(row[: row.index(EOS) + 1]) if EOS in row else tuple(row)
    node = trie.walk(torch.tensor([row, row], dtype=torch.long))
    assert node.tolist() == [node_of(trie, until_end) if until_end in oracle else NO_NODE] * 2
    found = trie.item(node)
    expected = next((item for item, sequence in enumerate(sequences) if (*sequence, EOS) == until_end), -1)
    assert found.tolist() == [expected] * 2


@settings(deadline=None, max_examples=40)
@given(sequences=catalogues, token=st.integers(-3, 60))
def test_stepping_knows_exactly_the_children(sequences: list[tuple[int, ...]], token: int) -> None:
    trie, oracle = ItemTrie(sequences, EOS), prefixes(sequences)
    nodes = torch.tensor([node_of(trie, prefix) for prefix in oracle])
    stepped = trie.step(nodes.view(1, -1), torch.full((1, len(nodes)), token)).flatten().tolist()
    expected = [node_of(trie, (*prefix, token)) if (*prefix, token) in oracle else NO_NODE for prefix in oracle]
    assert stepped == expected
    assert trie.step(torch.tensor([NO_NODE]), torch.tensor([token])).tolist() == [NO_NODE]


@settings(deadline=None, max_examples=40)
@given(sequences=catalogues, data=st.data())
def test_children_are_listed_for_many_nodes_at_once(sequences: list[tuple[int, ...]], data: st.DataObject) -> None:
    trie, oracle = ItemTrie(sequences, EOS), prefixes(sequences)
    asked = data.draw(st.lists(st.sampled_from([None, *oracle]), max_size=6))
    nodes = torch.tensor([NO_NODE if prefix is None else node_of(trie, prefix) for prefix in asked], dtype=torch.long)
    children = trie.children(nodes)
    expected = [
        (row, longer[-1], node_of(trie, longer))
        for row, prefix in enumerate(asked)
        if prefix is not None
        for longer in sorted(oracle)
        if len(longer) == len(prefix) + 1 and longer[:-1] == prefix
    ]
    assert list(zip(*(column.tolist() for column in children), strict=True)) == expected


@settings(deadline=None, max_examples=40)
@given(sequences=catalogues, data=st.data())
def test_paths_lead_from_the_root_to_the_leaf(sequences: list[tuple[int, ...]], data: st.DataObject) -> None:
    trie = ItemTrie(sequences, EOS)
    asked = data.draw(st.lists(st.integers(0, len(sequences) - 1), min_size=1, max_size=6))
    found = trie.paths(torch.tensor(asked)).tolist()
    longest = max(len(sequences[item]) for item in asked) + 2
    for item, path in zip(asked, found, strict=True):
        closed = (*sequences[item], EOS)
        expected = [node_of(trie, closed[:length]) for length in range(len(closed) + 1)]
        assert path == [ROOT] * (longest - len(expected)) + expected


def test_a_larger_catalogue_agrees_with_a_dictionary() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = {tuple(row) for row in torch.randint(2, 40, (4000, 4), generator=generator).tolist()}
    sequences = sorted(drawn, key=lambda row: (row[3], row))
    trie = ItemTrie(sequences, EOS)
    closed = torch.tensor([[*row, EOS] for row in sequences])
    assert trie.item(trie.walk(closed)).tolist() == list(range(len(sequences)))
    others = torch.randint(2, 40, (4000, 4), generator=generator)
    places = {row: item for item, row in enumerate(sequences)}
    found = trie.item(trie.walk(torch.nn.functional.pad(others, (0, 1), value=EOS)))
    assert found.tolist() == [places.get(tuple(row), -1) for row in others.tolist()]


@pytest.mark.parametrize(
    ("sequences", "eos", "message"),
    [
        ([], EOS, "at least one item"),
        ([[4], []], EOS, "item 1 has no tokens"),
        ([[4], [5, EOS]], EOS, "item 1 has eos_token_id among its tokens \\[5, 1\\]"),
        ([[4, -1], [5]], EOS, "item 0 has a negative token"),
        ([[9, 9], [4, 5], [3], [4, 5]], EOS, "items 1 and 3 have the same tokens \\[4, 5\\]"),
        ([[4]], -1, "eos_token_id must be a token, got -1"),
    ],
)
def test_what_makes_no_trie_is_named(sequences: list[list[int]], eos: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ItemTrie(sequences, eos)


def test_moving_keeps_the_original_where_it_is() -> None:
    trie = ItemTrie([[4], [5]], EOS)
    assert trie.to("cpu") is trie
    moved = trie.to("meta")
    assert (moved.device.type, trie.device.type) == ("meta", "cpu")
    tables = [value for value in vars(moved).values() if isinstance(value, IndexTable)]
    assert {table.values.device.type for table in tables} == {"meta"}
    assert len(tables) == 10
    assert (moved.num_items, moved.num_nodes) == (trie.num_items, trie.num_nodes)
