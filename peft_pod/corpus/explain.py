"""Explanation sentences chosen from reviews: one that names a property of the item, for each review that has one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DatasetDict

from .encoding import positions
from .features import Features, mine_features
from .fingerprint import tables_fingerprint
from .parts import PARTS, ExplanationColumns
from .ragged import IntArray
from .review_words import ReviewWords, read_words
from .schema import arrow_column
from .sentence_choice import Choice, ExplanationOptions, Reviews, choose, drop_repeated
from .split import LeaveOneOut, Split
from .spool import as_dataset
from .steps import Setting, Step

if TYPE_CHECKING:
    from .corpus import Corpus

STEP = "explanations from reviews"


def choose_explanations(
    corpus: Corpus,
    *,
    split: str = LeaveOneOut.name,
    split_settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> Corpus:
    """Choose at most one sentence from each review as the explanation of its interaction.

    A sentence is a candidate where it has a fitting length and names a feature: a word that reviews use as a noun,
    neither rarely nor everywhere, and that is no word of grammar, time, people or trade. Of a review's candidates the
    one is taken whose feature is most associated with the item (see `ItemFeatures.association`; a review does not
    count for itself), with an opinion close to the feature counting in favour; then the earliest sentence, then the
    feature that more reviews name. The feature is kept in small letters, as in the data of PETER (Li et al., ACL
    2021) and of the paper.

    **No leak:** which words are features, and how strongly they go with an item, is counted in the reviews of the
    split's training part alone. Reviews of held-out interactions get sentences too, for evaluation, and change nothing
    else. The choice holds for this split only; another division of the corpus, and another filter of its interactions,
    would hold out what was counted here: `explanations_problem` tells.

    Args:
        corpus: a corpus whose interactions have a `review`; its explanations, if there are any, are replaced.
        split: name of the split for which the sentences are meant; see `Corpus.split`.
        split_settings: settings of that split.
        options: see `ExplanationOptions`.

    Returns:
        The corpus with the table `explanations`, in the order of the interactions, and one step more.

    Raises:
        ValueError: there are no reviews, no sentence can be chosen, or an option is unknown or out of range.

    Example:
        >>> from datasets import Dataset
        >>> from peft_pod.corpus import Corpus
        >>> says = ["The tone is great.", "I love the warm tone!", "Nice tone, fair price.", "A fine tone for this."]
        >>> corpus = Corpus.from_tables("small", {
        ...     "interactions": Dataset.from_dict(
        ...         {"user_id": list("abcd"), "item_id": ["mic"] * 4, "timestamp": [1, 2, 3, 4], "review": says}
        ...     ),
        ...     "items": Dataset.from_dict({"item_id": ["mic"], "title": ["Microphone"]}),
        ... })
        >>> explained = choose_explanations(corpus, min_reviews=2, max_share=1.0, min_noun_share=0.2)
        >>> explained.explanations["feature"][:]
        ['tone', 'tone', 'tone', 'tone']
    """
    chosen_options = _options(options)
    if "review" not in corpus.interactions.column_names:
        raise ValueError(
            f"corpus {corpus.name!r} has no reviews to choose sentences from: its interactions lack the column 'review'"
        )
    divided, parts = _parts(corpus, split, split_settings or {})
    reviews, empty = _reviews(corpus, divided, parts)
    read = read_words(reviews.texts.to_pylist())
    features = mine_features(
        read,
        reviews.training_texts,
        min_reviews=chosen_options.min_reviews,
        max_share=chosen_options.max_share,
        min_noun_share=chosen_options.min_noun_share,
    )
    choice, counts = choose(corpus.items, reviews, read, features, chosen_options)
    choice, counts["held-out sentences that the user wrote in training too"] = drop_repeated(
        choice, reviews, read, keep=chosen_options.repeated == "keep"
    )
    if len(choice.reviews) == 0:
        raise ValueError(
            f"no sentence could be chosen from the {len(reviews.rows)} reviews of corpus {corpus.name!r}: {counts}; "
            "with few reviews, lower min_reviews or raise max_share"
        )
    kept = parts[reviews.rows[choice.reviews]]
    counts |= {f"{part} sentences": int((kept == number).sum()) for number, part in enumerate(PARTS)}
    step = Step(
        STEP,
        {
            "split": divided.name,
            **{f"split {name}": value for name, value in divided.settings.items()},
            "interactions": _interactions_fingerprint(corpus),
            **{field.name: getattr(chosen_options, field.name) for field in fields(chosen_options)},
        },
        {"interactions": len(parts), "interactions without a review": empty, "reviews": len(reviews.rows), **counts},
    )
    tables = {**corpus.tables, "explanations": _table(corpus, reviews, read, features, choice)}
    return type(corpus).from_tables(corpus.name, tables, (*corpus.steps, step))


def explanations_problem(corpus: Corpus, split: Split) -> str | None:
    """Why the explanations of a corpus don't fit a split of it: then held-out reviews may have had a say in them.

    Args:
        corpus: a corpus.
        split: how it is divided now.

    Returns:
        `None` where the explanations were not chosen by `choose_explanations`, or were chosen for this split of these
            interactions.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> corpus = load_corpus("embedded", num_users=50)
        >>> explanations_problem(corpus, corpus.split()) is None
        True
    """
    made = next((step for step in reversed(corpus.steps) if step.name == STEP), None)
    if made is None or corpus.explanations is None:
        return None
    then = {name: value for name, value in made.settings.items() if name.split(" ")[0] == "split"}
    now: dict[str, Setting] = {"split": split.name, **{f"split {key}": value for key, value in split.settings.items()}}
    if then != now:
        return f"the explanations were chosen for {then}, and the corpus is split by {now}; choose them again"
    if made.settings["interactions"] != _interactions_fingerprint(corpus):
        return "the interactions are not those that the explanations were chosen for; choose them again"
    return None


def _options(options: Mapping[str, Any]) -> ExplanationOptions:
    known = [field.name for field in fields(ExplanationOptions)]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"there is no option {unknown[0]!r} for explanations; there are {', '.join(known)}")
    return ExplanationOptions(**options)


def _interactions_fingerprint(corpus: Corpus) -> str:
    # Only what a split goes by: reviews and ratings may be dropped once sentences are chosen.
    return tables_fingerprint({"interactions": corpus.interactions.select_columns(["user_id", "item_id", "timestamp"])})


def _parts(corpus: Corpus, name: str, settings: Mapping[str, Any]) -> tuple[Split, IntArray]:
    """The split, and for each interaction the part (its place in `PARTS`) that a sentence about it would be in.

    The split itself is asked, with a table of explanations that has a row for each interaction: whatever rule it has
    for an item that a user took twice is then the rule here.
    """
    count = len(corpus.interactions)
    rows = pa.array(np.arange(count).astype(str))
    probe = as_dataset(
        pa.table(
            {
                "user_id": arrow_column(corpus.interactions, "user_id"),
                "item_id": arrow_column(corpus.interactions, "item_id"),
                "explanation": rows,
                "feature": rows,
            }
        )
    )
    divided = replace(corpus, tables=DatasetDict({**corpus.tables, "explanations": probe})).split(name, **settings)
    parts = np.full(count, -1, dtype=np.int64)
    for number, part in enumerate(PARTS):
        found = divided.explanations(part)
        if isinstance(found, ExplanationColumns):
            parts[found.texts.cast(pa.int64()).to_numpy(zero_copy_only=False)] = number
    return divided, parts


def _reviews(corpus: Corpus, divided: Split, parts: IntArray) -> tuple[Reviews, int]:
    """The interactions with a review, and how many have none."""
    column = arrow_column(corpus.interactions, "review")
    there = pc.fill_null(pc.not_equal(pc.utf8_trim_whitespace(column), ""), False).to_numpy()
    rows = np.flatnonzero(there)
    if len(rows) == 0:
        raise ValueError(f"corpus {corpus.name!r} has no reviews to choose sentences from: all are empty")
    encoded = column.take(pa.array(rows)).dictionary_encode().combine_chunks()
    users = positions(
        arrow_column(corpus.interactions, "user_id"), pa.array(divided.train.user_ids), "interactions", "user_id"
    )
    items = positions(
        arrow_column(corpus.interactions, "item_id"), pa.array(divided.train.item_ids), "interactions", "item_id"
    )
    return Reviews(
        rows=rows,
        users=users[rows],
        items=items[rows],
        training=parts[rows] == 0,
        codes=encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64),
        texts=encoded.dictionary,
    ), len(column) - len(rows)


def _table(corpus: Corpus, reviews: Reviews, read: ReviewWords, features: Features, choice: Choice) -> Dataset:
    rows = pa.array(reviews.rows[choice.reviews])
    return as_dataset(
        pa.table(
            {
                "user_id": arrow_column(corpus.interactions, "user_id").take(rows),
                "item_id": arrow_column(corpus.interactions, "item_id").take(rows),
                "explanation": pa.array([read.sentences[place] for place in choice.sentences.tolist()], pa.string()),
                "feature": pa.array([features.words[place] for place in choice.features.tolist()], pa.string()),
            }
        )
    )
