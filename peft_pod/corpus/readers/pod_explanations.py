"""`explanation.json` of a POD folder: sentences from reviews, each with the word that names a property of the item."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..schema import CorpusFormatError
from .pod_maps import PodMaps, load_json

FILES = ("explanation.json", "explanation_rationale.json", "explanation_rational.json")
"""RDRec's files have two more entries for each sentence, which are not read."""
_SENTENCES = ("explanation", "sentence")
_PARTS = ("train", "val", "valid", "validation", "test")
_SHOWN = 100


def read_pod_explanations(path: Path, maps: PodMaps) -> tuple[pa.Table, dict[str, int]]:
    """Read the sentences: a list of objects, or an object with such lists as `train`, `val` and `test`.

    Each has `user` and `item`, indices as numbers or text; `explanation` (or `sentence`); and, where there is one,
    `feature`. The file's own parts are put together: they were drawn by chance and not by time, so a sentence of
    `train` may be about a held-out item.

    Args:
        path: the file, plain or with `.gz`.
        maps: the original IDs.

    Returns:
        The table `explanations`, and what was found.

    Raises:
        CorpusFormatError: the file is damaged, or an entry has another form.
    """
    found = load_json(path)
    parts = found if isinstance(found, dict) else {"": found}
    unknown = [part for part in parts if part not in ("", *_PARTS)]
    if unknown or not parts or not all(isinstance(entries, list) for entries in parts.values()):
        raise CorpusFormatError(
            f"{path}: expected a list of sentences, or an object of lists under {', '.join(_PARTS)}; got "
            f"{_shortened(sorted(parts))}"
        )
    counts: Counter[str] = Counter({"sentences read": 0, "sentences without text, dropped": 0})
    columns: dict[str, list[str]] = {"user_id": [], "item_id": [], "explanation": [], "feature": []}
    for part, entries in parts.items():
        for place, entry in enumerate(entries):
            where = f"{path}, entry {place + 1}{f' of {part!r}' if part else ''}"
            user, item, sentence, feature = _entry(where, entry, maps)
            counts["sentences read"] += 1
            if not sentence:
                counts["sentences without text, dropped"] += 1
                continue
            for column, value in zip(columns.values(), (user, item, sentence, feature), strict=True):
                column.append(value)
    pairs = Counter(zip(columns["user_id"], columns["item_id"], strict=True))
    counts["sentences beyond the first of a user about an item"] = sum(pairs.values()) - len(pairs)
    counts["sentences without a feature"] = sum(not feature for feature in columns["feature"])
    table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    return table, dict(counts)


def _entry(where: str, entry: Any, maps: PodMaps) -> tuple[str, str, str, str]:
    if not isinstance(entry, dict):
        raise CorpusFormatError(f"{where}: expected an object, got {_shortened(entry)}")
    ids = []
    for what, known in (("user", maps.user_of), ("item", maps.item_of)):
        index = entry.get(what)
        if isinstance(index, bool) or not isinstance(index, (int, str)):
            raise CorpusFormatError(f"{where}: expected the index of the {what}, got {_shortened(index)}")
        if str(index) not in known:
            raise CorpusFormatError(f"{where}: {what} {_shortened(index)} is not in datamaps.json")
        ids.append(known[str(index)])
    sentence = next((name for name in _SENTENCES if name in entry), None)
    if sentence is None:
        raise CorpusFormatError(
            f"{where}: expected {' or '.join(map(repr, _SENTENCES))}, got {_shortened(sorted(entry))}"
        )
    texts = []
    for name in (sentence, "feature"):
        value = entry.get(name)
        if value is not None and not isinstance(value, str):
            raise CorpusFormatError(f"{where}: expected a text as {name!r}, got {_shortened(value)}")
        texts.append((value or "").encode("utf-8", "replace").decode("utf-8").strip())
    return ids[0], ids[1], texts[0], texts[1]


def _shortened(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
