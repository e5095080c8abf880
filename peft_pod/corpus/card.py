"""The dataset card of a corpus: what it is, how it was made, how it is split, and what it can't be used for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset
from huggingface_hub import DatasetCardData

from .explain import STEP, explanations_problem
from .schema import arrow_column
from .split import Split
from .steps import Step
from .timestamps import only_places

if TYPE_CHECKING:
    from .corpus import Corpus

TABLE_FILES = {
    "interactions": "interactions.parquet",
    "items": "items.parquet",
    "explanations": "explanations.parquet",
}
SPLIT_OF_FILES = "full"
"""What the Hub calls the rows of a file. The parts for training and evaluation are made when the corpus is loaded."""

_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
_SIZES_ABOVE = ((10**8, "10M<n<100M"), (10**9, "100M<n<1B"), (10**10, "1B<n<10B"))


def dataset_card(
    corpus: Corpus, *, split: Split | None = None, license: str | None = None, repo_id: str | None = None
) -> str:
    """Write the card of a corpus: YAML that the Hub reads, then Markdown.

    Args:
        corpus: the corpus.
        split: the split that the card describes; leave-one-out where it is not given.
        license: the Hub's name for the licence of the data; left out where it is not given.
        repo_id: where the corpus is on the Hub, for the lines that load it.

    Raises:
        ValueError: the split is one of another corpus.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> card = dataset_card(load_corpus("embedded", num_users=20), repo_id="owner/embedded")
        >>> card.splitlines()[0], "# embedded" in card, 'load_corpus("datasets", "owner/embedded")' in card
        ('---', True, True)
    """
    split = corpus.split() if split is None else split
    if split.data_fingerprint != corpus.fingerprint:
        raise ValueError(
            f"the split is one of the corpus with fingerprint {split.data_fingerprint}, not of {corpus.fingerprint}"
        )
    sections = (
        ("", _introduction(corpus, license)),
        ("Tables", _tables(corpus)),
        ("How it was made", _steps(corpus.steps)),
        ("How it is split", _split(split)),
        ("Known limits", _bullets(_limits(corpus, split))),
        ("How to load it", _loading(corpus, split, repo_id)),
    )
    text = "\n\n".join(f"## {title}\n\n{body}" if title else body for title, body in sections)
    return f"---\n{_front_matter(corpus, license)}\n---\n\n# {_plain(corpus.name)}\n\n{text}\n"


def _front_matter(corpus: Corpus, license: str | None) -> str:
    explained = corpus.explanations is not None
    tags = ["recommendation", "sequential-recommendation", "peft-pod"]
    data = DatasetCardData(
        pretty_name=corpus.name,
        license=license,
        task_categories=["text-generation", "other"] if explained else ["other"],
        size_categories=[_size(len(corpus.interactions))],
        tags=[*tags, "explainable-recommendation"] if explained else tags,
        configs=[
            {
                "config_name": name,
                "data_files": [{"split": SPLIT_OF_FILES, "path": TABLE_FILES[name]}],
                **({"default": True} if name == "interactions" else {}),
            }
            for name in corpus.tables
        ],
    )
    return str(data.to_yaml()).strip()


def _size(count: int) -> str:
    return next((name for limit, name in (*_SIZES, *_SIZES_ABOVE) if count < limit), "n>1T")


def _introduction(corpus: Corpus, license: str | None) -> str:
    known = "" if license else " The licence of the data is that of their source, and is not stated here."
    return (
        f"A corpus for recommendation: who took what and when, and the catalogue. Fingerprint `{corpus.fingerprint}`: "
        f"corpora are equal, row by row, exactly where their fingerprints are.{known}"
    )


def _tables(corpus: Corpus) -> str:
    rows = [
        (f"`{name}`", f"{len(table):,}", ", ".join(f"`{column}`" for column in table.column_names))
        for name, table in corpus.tables.items()
    ]
    users = len(pc.unique(arrow_column(corpus.interactions, "user_id")))
    return f"{_table(('table', 'rows', 'columns'), rows)}\n\n{users:,} users, {len(corpus.items):,} items."


def _steps(steps: Sequence[Step]) -> str:
    if not steps:
        return "No steps were recorded."
    return "\n\n".join(_step(f"{number}. {_plain(step.name)}", step) for number, step in enumerate(steps, start=1))


def _step(title: str, step: Step) -> str:
    settings = ", ".join(f"`{_plain(name)}` {_plain(value)}" for name, value in step.settings.items())
    counts = _table(("what", "count"), [(_plain(rule), f"{count:,}") for rule, count in step.counts.items()])
    parts = [f"### {title}", f"Settings: {settings}." if settings else "", counts if step.counts else ""]
    return "\n\n".join(part for part in parts if part)


def _split(split: Split) -> str:
    what = {
        "leave-one-out": "The last item of each user is the test item, the one before it the validation item; the rest "
        "is the training part. Rows with equal times keep their order. When the test item is predicted, the validation "
        "item is known.",
        "leave-one-out-refit": "The last item of each user is the test item; all before it is the training part: for "
        "the last training, once all choices are made. Rows with equal times keep their order.",
        "temporal": "The training part is everything before the first cut. A user's validation item is their first one "
        "between the cuts, their test item the first one from the second cut on; all before the part's cut is known.",
    }.get(split.name, "See the documentation of `peft_pod.corpus`.")
    return (
        f"By `{split.name}`, fingerprint `{split.fingerprint}`. {what}\n\n{_step(_plain(split.step.name), split.step)}"
    )


def _limits(corpus: Corpus, split: Split) -> Iterable[str]:
    counts = split.step.counts
    for rule in counts:
        if counts[rule] and ("shares its time" in rule or "do not occur in training" in rule or "left out" in rule):
            yield f"{counts[rule]:,} {rule}."
    if only_places(corpus.steps) or _only_an_order(split):
        yield "Times are places in each user's history: there is an order, and no split by the clock."
    titles = arrow_column(corpus.items, "title")
    if pc.all(pc.equal(titles, arrow_column(corpus.items, "item_id")), min_count=0).as_py():
        yield "Items have no titles: each has its ID in place of one."
    if "rating" not in corpus.interactions.column_names:
        yield "There are no ratings."
    yield from _limits_of_text(corpus, corpus.explanations, split)


def _limits_of_text(corpus: Corpus, explanations: Dataset | None, split: Split) -> Iterable[str]:
    if explanations is None:
        yield "There are no explanation sentences."
        return
    problem = explanations_problem(corpus, split)
    if problem:
        yield f"Leak: {_plain(problem)}."
    if any(step.name == STEP for step in corpus.steps):
        yield (
            "Explanation sentences were chosen from reviews by counting and by lists of English words, not by people: "
            "some name a feature without saying anything about it, and a feature is one word."
        )
    yield "Sentences are as their writers left them, with whatever these say about themselves."


def _only_an_order(split: Split) -> bool:
    """Whether times are places in each user's own history, counted from 0 or 1."""
    timestamps = split.train.timestamps
    behind = timestamps.values - timestamps.places
    return bool(np.isin(behind, (0, 1)).all() and (behind == behind[:1]).all())


def _loading(corpus: Corpus, split: Split, repo_id: str | None) -> str:
    settings = "".join(
        f", {name}={value!r}" for name, value in split.settings.items() if split.name == "temporal" and "cut" in name
    )
    hub = f'# or, from the Hub: corpus = load_corpus("datasets", "{repo_id or "owner/name"}")'
    return f"""```python
from peft_pod.corpus import load_corpus

corpus = load_corpus("saved", "path/to/this/folder")  # with its name and steps
{hub}
split = corpus.split("{split.name}"{settings})
assert split.fingerprint == "{split.fingerprint}"
```

With `datasets` alone, each table is a configuration: `load_dataset("{repo_id or "owner/name"}", "items", \
split="{SPLIT_OF_FILES}")`."""


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(value: object) -> str:
    """A value as text that stays in its line and its cell."""
    return " ".join(str(value).split()).replace("|", "\\|").replace("`", "'").replace("<", "&lt;")
