"""A corpus as a folder of the P5 and POD papers, so that their code runs on a split that does not leak."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from peft_pod.files import new_folder

from .candidates import Negatives, check_negatives, draw_negatives, draw_popular_negatives
from .parts import PARTS, Explanation
from .ragged import IntArray, Ragged
from .split import LeaveOneOut, Split
from .steps import Step

if TYPE_CHECKING:
    from .corpus import Corpus

MIN_LENGTH = 4
"""POD's training draws a segment that ends before the last two items and needs two items before them."""
_PART_NAMES = {"train": "train", "validation": "val", "test": "test"}
_BATCH = 100_000


def write_pod_folder(
    corpus: Corpus,
    folder: str | os.PathLike[str],
    *,
    short_users: Literal["error", "drop"] = "error",
    num_negatives: int = 99,
    negatives: Negatives = "uniform",
    seed: int = 0,
) -> Step:
    """Write `sequential.txt`, `datamaps.json`, `negative.txt` and, where there are sentences, `explanation.json`.

    Indices are handed out by chance: users and items are ordered by original ID, which says nothing about histories,
    and shuffled. So the rules that read the answer off the paper's own indices find nothing here. The code of the
    papers splits by leave-one-out: the last item of a line is the test item, the one before it the validation item.
    Sentences are divided by `corpus.split()`: one about a held-out item is in that item's part.

    The folder is whole or not there at all. It has no place for times, ratings, reviews, titles and texts of items;
    these are lost.

    Args:
        corpus: the corpus.
        folder: a new or an empty folder.
        short_users: what becomes of users with fewer than `MIN_LENGTH` items, on whom POD's code stops: `"error"`, or
            `"drop"`, which leaves them and their sentences out.
        num_negatives: how many items that the user never took stand in each line of `negative.txt`.
        negatives: how these are drawn: `"uniform"`, or by `"popularity"` in training.
        seed: of the indices and the negatives.

    Returns:
        What was written, and what was left out.

    Raises:
        FileExistsError: the folder is there already and not empty.
        ValueError: there are short users and they are not to be dropped, the catalogue is too small for so many
            negatives, or an option is none of those known.

    Example:
        >>> import tempfile
        >>> from peft_pod.corpus import load_corpus
        >>> folder = Path(tempfile.mkdtemp()) / "pod"
        >>> step = write_pod_folder(load_corpus("embedded", num_users=20), folder)
        >>> sorted(path.name for path in folder.iterdir()), step.counts["users"]
        (['datamaps.json', 'explanation.json', 'negative.txt', 'sequential.txt'], 20)
        >>> load_corpus("pod", folder).interactions[0].keys()
        dict_keys(['user_id', 'item_id', 'timestamp'])
    """
    check_negatives(negatives)
    if short_users not in ("error", "drop"):
        raise ValueError(f"short_users must be 'error' or 'drop', got {short_users!r}")
    if num_negatives < 1:
        raise ValueError(f"num_negatives must be at least 1, got {num_negatives}")
    split = corpus.split(LeaveOneOut.name)
    users = _users(corpus.name, split, drop_short=short_users == "drop")
    _check_catalogue(split, users, num_negatives)
    user_numbers, item_numbers = (
        _Numbers.of(split.train.user_ids, users, seed),
        _Numbers.of(split.train.item_ids, np.arange(split.train.num_items), seed + 1),
    )
    in_order = users[np.argsort(user_numbers.numbers[users])]
    with new_folder(folder) as temporary:
        histories = split.all_histories().take(in_order)
        _write_lines(temporary / "sequential.txt", user_numbers.numbers[in_order], histories, item_numbers.numbers)
        drawn = _draw(split, in_order, num_negatives, negatives, seed)
        _write_lines(temporary / "negative.txt", user_numbers.numbers[in_order], drawn, item_numbers.numbers)
        _write_json(
            temporary / "datamaps.json",
            {
                "user2id": user_numbers.by_id(),
                "item2id": item_numbers.by_id(),
                "id2user": user_numbers.by_number(),
                "id2item": item_numbers.by_number(),
            },
        )
        sentences = _write_explanations(temporary / "explanation.json", corpus, split, user_numbers, item_numbers)
    return Step(
        "write pod folder",
        {"short_users": short_users, "num_negatives": num_negatives, "negatives": negatives, "seed": seed},
        {
            "users": len(users),
            "items": split.train.num_items,
            "interactions": len(histories.values),
            f"users with fewer than {MIN_LENGTH} items, left out": split.train.num_users - len(users),
            **sentences,
        },
    )


@dataclass(frozen=True)
class _Numbers:
    """The index of each user or item, from 1; 0 for those left out."""

    ids: Sequence[str]
    numbers: IntArray

    @classmethod
    def of(cls, ids: Sequence[str], chosen: IntArray, seed: int) -> _Numbers:
        by_id = chosen[pc.sort_indices(pa.array(ids, pa.string()).take(pa.array(chosen))).to_numpy()]
        numbers = np.zeros(len(ids), dtype=np.int64)
        numbers[by_id] = 1 + np.random.default_rng(seed).permutation(len(by_id))
        return cls(ids, numbers)

    def by_number(self) -> dict[str, str]:
        """The original ID of each index, in the order of the indices."""
        places = np.argsort(self.numbers, kind="stable")[np.count_nonzero(self.numbers == 0) :].tolist()
        return {str(number): self.ids[place] for number, place in enumerate(places, start=1)}

    def by_id(self) -> dict[str, str]:
        """The index of each original ID."""
        return {original: number for number, original in self.by_number().items()}


def _users(name: str, split: Split, *, drop_short: bool) -> IntArray:
    """The users that are written."""
    lengths = split.all_histories().lengths
    short = int((lengths < MIN_LENGTH).sum())
    if short and not drop_short:
        raise ValueError(
            f"{short} of {len(lengths)} users of corpus {name!r} have fewer than {MIN_LENGTH} items, on whom POD's "
            f"code stops; filter them with corpus.k_core(users={MIN_LENGTH}, items=0), or leave them out with "
            "short_users='drop'"
        )
    users = np.flatnonzero(lengths >= MIN_LENGTH)
    if len(users) == 0:
        raise ValueError(f"no user of corpus {name!r} has {MIN_LENGTH} items or more: nothing can be written")
    return users


def _check_catalogue(split: Split, users: IntArray, num_negatives: int) -> None:
    histories = split.all_histories().take(users)
    pairs = np.unique(histories.owners * split.train.num_items + histories.values)
    most = int(np.bincount(pairs // split.train.num_items).max())
    if split.train.num_items - most < num_negatives:
        raise ValueError(
            f"num_negatives is {num_negatives}, and there is a user who took {most} of the {split.train.num_items} "
            f"items: {split.train.num_items - most} are left; lower num_negatives"
        )


def _draw(split: Split, users: IntArray, count: int, negatives: Negatives, seed: int) -> Ragged:
    drawn = np.empty((len(users), count), dtype=np.int64)
    for row, user in enumerate(users.tolist()):
        rng = np.random.default_rng((seed, user))
        taken = split.all_items(user)
        if negatives == "uniform":
            items = draw_negatives(taken, split.train.num_items, count, rng)
        else:
            items = draw_popular_negatives(taken, split.train.popularity_ends, count, rng)
        drawn[row] = rng.permutation(items)
    return Ragged.from_lengths(drawn.ravel(), np.full(len(users), count))


def _write_lines(path: Path, users: IntArray, rows: Ragged, numbers: IntArray) -> None:
    """One line a row: the number of its user, then those of its items."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for start in range(0, len(rows), _BATCH):
            part = rows[start : start + _BATCH]
            items = pa.array(numbers[part.values]).cast(pa.string())
            joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(part.offsets, pa.int32()), items), " ")
            lines = pc.binary_join_element_wise(pa.array(users[start : start + _BATCH]).cast(pa.string()), joined, " ")
            file.write("\n".join(lines.to_pylist()) + "\n")


def _write_json(path: Path, value: object) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, indent=1)
        file.write("\n")


def _write_explanations(path: Path, corpus: Corpus, split: Split, users: _Numbers, items: _Numbers) -> dict[str, int]:
    if corpus.explanations is None:
        return {}
    left_out = 0
    written: dict[str, list[dict[str, int | str]]] = {}
    for part in PARTS:
        sentences = split.explanations(part)
        entries = [_entry(sentence, users, items) for sentence in sentences if users.numbers[sentence.user]]
        left_out += len(sentences) - len(entries)
        written[_PART_NAMES[part]] = entries
    _write_json(path, written)
    counts = {f"{part} sentences": len(written[name]) for part, name in _PART_NAMES.items()}
    return {**counts, "sentences of users left out": left_out}


def _entry(sentence: Explanation, users: _Numbers, items: _Numbers) -> dict[str, int | str]:
    return {
        "user": int(users.numbers[sentence.user]),
        "item": int(items.numbers[sentence.item]),
        "explanation": sentence.text,
        "feature": sentence.feature,
    }
