"""What a trained model's card says beyond what PEFT writes: how to recommend with it, and what to know before."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from peft_pod.files import write_text
from peft_pod.processing import PODProcessor

CARD_FILE = "README.md"
_BEGIN, _END = "<!-- peft_pod: recommender -->", "<!-- /peft_pod: recommender -->"
_LEAKING = (
    "**The item IDs of this model leak.** Indexing {name!r} names items by data that is held out for evaluation, so "
    "that answers can be read off the names. Its numbers compare with papers that did the same and say little about "
    "recommendation."
)
_SECTION = """{begin}
## Recommending with this model

```python
from peft_pod.generation import Recommender

recommender = Recommender.from_pretrained("this repository or folder")
{call}
```

Trained for the tasks {tasks} on {items:,} items and {users:,} users; item IDs: `{indexing}`.
{notes}{end}"""
_CALLS = {
    "sequential": 'recommender.recommend("user id", k=10)',
    "topn": 'recommender.rank("user id", candidates=["item id", "item id"])',
    "explanation": 'recommender.explain("user id", "item id")',
}
_CALLS_WITHOUT_USERS = {
    "sequential": 'recommender.recommend("any name", history=["item id", "item id"], k=10)',
    "topn": 'recommender.rank("any name", candidates=["item id", "item id"], history=["item id", "item id"])',
    "explanation": 'recommender.explain("any name", "item id")',
}


def describe_recommender(
    folder: str | os.PathLike[str], processor: PODProcessor, num_users: int, num_items: int, notes: Sequence[str] = ()
) -> None:
    """Write the section into the card of a saved model, in the place of an older one.

    A scheme whose names leak is said to leak whatever the notes are.

    Args:
        folder: of the saved model; its card is made where PEFT has made none.
        processor: of the model.
        num_users: how many users it knows.
        num_items: how many items it knows.
        notes: what must be read with its numbers, such as the audit's verdict.
    """
    path = Path(folder) / CARD_FILE
    text = path.read_text(encoding="utf-8") if path.is_file() else "---\nlibrary_name: peft\n---\n"
    indexing = processor.indexing
    calls = _CALLS if indexing.user_words else _CALLS_WITHOUT_USERS
    said = [_LEAKING.format(name=indexing.name)] if indexing.leaks else []
    said += [note for note in notes if note not in said]
    section = _SECTION.format(
        begin=_BEGIN,
        end=_END,
        call="\n".join(calls[name] for name in processor.task_names if name in calls),
        tasks=", ".join(f"`{name}`" for name in processor.task_names),
        items=num_items,
        users=num_users,
        indexing=indexing.name,
        notes="".join(f"\n{note}\n" for note in said),
    )
    before, begin, rest = text.partition(_BEGIN)
    after = rest.partition(_END)[2].lstrip("\n") if begin else ""
    write_text(path, f"{before.rstrip()}\n\n{section}\n" + (f"\n{after}" if after else ""))
