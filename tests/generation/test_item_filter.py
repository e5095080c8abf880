"""The filter against sets of items."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from peft_pod.generation.item_filter import ItemFilter
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
        assert allowed.mask()[row].tolist() == [item in left for item in range(30)]


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
