"""The filter against sets of items."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from peft_pod.generation.item_filter import ItemFilter, ItemSet
from peft_pod.generation.trie import ItemTrie

EOS = 1


def make_trie(rng: random.Random, count: int) -> tuple[ItemTrie, list[tuple[int, ...]]]:
    items: set[tuple[int, ...]] = set()
    while len(items) < count:
        items.add(tuple(rng.randint(2, 6) for _ in range(rng.randint(1, 5))))
    listed = rng.sample(sorted(items), count)
    return ItemTrie(listed, EOS), listed


@pytest.mark.parametrize("kept", ["all", "one list", "a list an input"])
@pytest.mark.parametrize("seed", range(8))
def test_nodes_lead_to_items_that_begin_with_them(seed: int, kept: str) -> None:
    rng = random.Random(seed)
    trie, items = make_trie(rng, 30)
    batch = rng.randint(2, 5)
    exclude = [rng.choices(range(30), k=rng.randint(0, 12)) for _ in range(batch)]
    only: list[list[int]] | None = None
    if kept != "all":
        only = [rng.sample(range(30), 15) for _ in range(1 if kept == "one list" else batch)]
    allowed = ItemFilter(trie, batch_size=batch, only=only, exclude=exclude)
    beginnings = sorted({(*item, EOS)[:length] for item in items for length in range(len(item) + 2)})
    width = max(map(len, beginnings))
    for row in range(batch):
        left = set(range(30) if only is None else only[row if len(only) > 1 else 0]) - set(exclude[row])
        tokens = torch.tensor([[*beginning, *[0] * (width - len(beginning))] for beginning in beginnings])
        nodes = torch.stack(
            [trie.walk(line[None, : len(beginning)])[0] for line, beginning in zip(tokens, beginnings, strict=True)]
        )
        found = allowed.leads_to_item(torch.full_like(nodes, row), nodes).tolist()
        expected = [
            any((*items[item], EOS)[: len(beginning)] == beginning for item in left) for beginning in beginnings
        ]
        assert found == expected
        leaves = trie.leaf_nodes[trie.item_leaf[:]]
        may_be_found = allowed.leads_to_item(torch.full_like(leaves, row), leaves)
        assert may_be_found.tolist() == [item in left for item in range(30)]


@pytest.mark.parametrize("kept", ["all", "one list", "a list an input"])
@pytest.mark.parametrize("with_exclude", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_siblings_are_answered_as_one_by_one(seed: int, kept: str, with_exclude: bool) -> None:
    rng = random.Random(seed)
    trie, _ = make_trie(rng, 30)
    batch = rng.randint(2, 5)
    exclude = [rng.choices(range(30), k=rng.randint(0, 12)) for _ in range(batch)] if with_exclude else None
    only = None
    if kept != "all":
        only = [rng.sample(range(30), 15) for _ in range(1 if kept == "one list" else batch)]
    allowed = ItemFilter(trie, batch_size=batch, only=only, exclude=exclude)
    rows = torch.tensor(sorted(rng.sample(range(batch), rng.randint(1, batch))))
    inner = [node for node in range(trie.num_nodes) if int(trie.item(torch.tensor(node))) < 0]
    for node in [0, *rng.sample(inner, 5)]:
        siblings = trie.children(torch.tensor([node])).nodes
        found = allowed.leads_to_item_among(rows, siblings)
        one_by_one = allowed.leads_to_item(rows.repeat_interleave(len(siblings)), siblings.repeat(len(rows)))
        assert found.tolist() == one_by_one.view(len(rows), -1).tolist()


def test_without_lists_all_is_allowed() -> None:
    trie, _ = make_trie(random.Random(0), 5)
    assert ItemFilter(trie, batch_size=2).allows_all
    assert ItemFilter(trie, batch_size=2, exclude=[[], []]).allows_all
    assert not ItemFilter(trie, batch_size=2, exclude=[[], [1]]).allows_all
    assert not ItemFilter(trie, batch_size=2, only=[[1, 2]]).allows_all


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"only": [[5]]}, "no item at position 5: there are 5 items"),
        ({"exclude": [[-1], []]}, "no item at position -1"),
        ({"only": [[1], [1], [1]]}, "only has 3 lists for 2 inputs"),
        ({"exclude": [[1]]}, "exclude has 1 lists for 2 inputs"),
        ({"exclude": [[], [0, 1, 2, 3, 4]]}, "no item may be found for row 1"),
        ({"only": [[2, 3]], "exclude": [[3], [2, 3, 4]]}, "no item may be found for row 1"),
        ({"only": [[2], []]}, "no item may be found for row 1"),
    ],
)
def test_lists_that_do_not_fit_are_refused(lists: dict[str, Any], message: str) -> None:
    trie, _ = make_trie(random.Random(0), 5)
    with pytest.raises(ValueError, match=message):
        ItemFilter(trie, batch_size=2, **lists)


@pytest.mark.parametrize("seed", range(8))
def test_a_set_made_once_filters_as_the_list_does(seed: int) -> None:
    rng = random.Random(seed)
    trie, _ = make_trie(rng, 30)
    items = rng.choices(range(30), k=rng.randint(3, 40))
    exclude = [rng.sample(range(30), rng.randint(0, 2)) for _ in range(3)]
    made = ItemSet(trie, items)
    assert (len(made), made.items.tolist()) == (len(set(items)), sorted(set(items)))
    others = rng.choices(range(30), k=rng.randint(0, 9))
    assert made.count(others) == len(set(items) & set(others))
    nodes = torch.arange(trie.num_nodes).repeat(3)
    rows = torch.arange(3).repeat_interleave(trie.num_nodes)
    by_set, by_list = (
        ItemFilter(trie, batch_size=3, only=only, exclude=exclude).leads_to_item(rows, nodes)
        for only in (made, [items])
    )
    assert torch.equal(by_set, by_list)


def test_an_empty_set_allows_nothing() -> None:
    trie, _ = make_trie(random.Random(0), 5)
    assert ItemSet(trie, []).count([1, 2]) == 0
    with pytest.raises(ValueError, match="no item may be found for row 0"):
        ItemFilter(trie, batch_size=1, only=ItemSet(trie, []), exclude=[[1]])
    with pytest.raises(ValueError, match="no item at position 5: there are 5 items"):
        ItemSet(trie, [1, 5])
