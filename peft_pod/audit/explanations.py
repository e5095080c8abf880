"""Are training sentences made from held-out reviews?

A sentence is from a held-out review where it is about an interaction that is not in the training part; or where its
text stands in the review of such an interaction of the same user, and not in the review it is said to come from. All
of them are made from held-out reviews where they were chosen for another division of the corpus. Where there are no
reviews to compare with, held-out sentences that the training part holds far more often than its own tell the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import stats

from peft_pod.corpus.explain import explanations_problem
from peft_pod.corpus.parts import Explanation, ExplanationColumns
from peft_pod.corpus.ragged import IntArray, Ragged
from peft_pod.corpus.schema import arrow_column

from .case import HELD_OUT, SURE, BoolArray, Case, share
from .finding import Finding

FEWEST_WORDS = 4
"""Shorter sentences, such as "Works great", are written again and again."""

MORE_THAN_TRAINING = 3.0
"""A leak has held-out sentences in training at least so many times as often as training has its own again."""

NAME = "explanations made from held-out data"


def check_explanations(case: Case) -> list[Finding]:
    """Findings where training sentences say something of held-out interactions."""
    sentences = columns(case.split.train.explanations)
    if len(sentences) == 0:
        return []
    problem = explanations_problem(case.corpus, case.split)
    about, copied = _about_held_out(case, sentences), _copied(case, sentences)
    repeated = _repeated_beyond_training(case, sentences)
    told = about | copied | repeated
    if problem is None and not told.any():
        return []
    where = "" if problem is None else f" All of them may have been chosen by held-out reviews: {problem}."
    return [
        Finding(
            name=NAME,
            count=len(sentences) if problem is not None else int(told.sum()),
            metrics=case.worth(_ranks(case, sentences, about)),
            description=(
                f"So many of {len(sentences):,} training sentences come from held-out interactions: "
                f"{int(about.sum()):,} are about one, {int(copied.sum()):,} have words of its review, "
                f"{int(repeated.sum()):,} are its sentence word for word.{where} The rule recommends what the user's "
                "training sentences are about and the history does not hold."
            ),
            fix=(
                "Choose the sentences again for this split: corpus.with_explanations(split=…, split_settings=…)."
                if problem is not None
                else "Take a sentence into training only with its interaction: corpus.split() does."
            ),
        )
    ]


def remark_repeated_sentences(case: Case) -> list[Finding]:
    """A remark where held-out sentences stand in training word for word, by the same user."""
    held_out = columns(case.split.explanations("test"))
    own, theirs = _sentence_codes([columns(case.split.train.explanations), held_out])
    repeated = (theirs >= 0) & np.isin(theirs, own)
    if not repeated.any():
        return []
    value = share(repeated)
    return [
        Finding(
            name="test sentences that their user wrote in training",
            count=int(repeated.sum()),
            metrics={"HR@1": value, "HR@10": value, "NDCG@10": value},
            description=(
                f"So many of {len(held_out):,} test sentences stand in training word for word, by the same user about "
                "another item. The metrics are their share: a rule that copies is right there."
            ),
            fix="Drop sentences that a user repeats, keeping the first.",
            severity="remark",
        )
    ]


def columns(sentences: Sequence[Explanation]) -> ExplanationColumns:
    """Sentences by columns, whatever holds them."""
    if isinstance(sentences, ExplanationColumns):
        return sentences
    return ExplanationColumns(
        np.array([sentence.user for sentence in sentences], dtype=np.int64),
        np.array([sentence.item for sentence in sentences], dtype=np.int64),
        pa.array([sentence.text for sentence in sentences], pa.string()),
        pa.array([sentence.feature for sentence in sentences], pa.string()),
    )


def _about_held_out(case: Case, sentences: ExplanationColumns) -> BoolArray:
    pairs = sentences.users * case.num_items + sentences.items
    later, train = (_pairs(rows, case.num_items) for rows in (case.split.later, case.split.train.sequences))
    return np.isin(pairs, later) & ~np.isin(pairs, train)


def _copied(case: Case, sentences: ExplanationColumns) -> BoolArray:
    """Whether the text stands in a held-out review of the same user, and not in that of its own interaction."""
    found = np.zeros(len(sentences), dtype=bool)
    if "review" not in case.corpus.interactions.column_names:
        return found
    reviews = arrow_column(case.corpus.interactions, "review").take(pa.array(case.encoded.order))
    texts: list[str | None] = reviews.to_pylist()
    offsets, items = case.walk.offsets, case.walk.values
    held_out = offsets[:-1] + case.split.train.lengths
    long_enough = np.flatnonzero(_long_enough(sentences.texts))
    users = sentences.users[long_enough]
    for place, user, text in zip(
        long_enough.tolist(), users.tolist(), sentences.texts.take(pa.array(long_enough)).to_pylist(), strict=True
    ):
        if not any(text in (review or "") for review in texts[held_out[user] : offsets[user + 1]]):
            continue
        own = np.flatnonzero(items[offsets[user] : held_out[user]] == sentences.items[place]) + offsets[user]
        found[place] = not any(text in (texts[at] or "") for at in own.tolist())
    return found


def _repeated_beyond_training(case: Case, sentences: ExplanationColumns) -> BoolArray:
    """The training sentences that are held-out ones of the same user, where chance does not explain them.

    Some users write a sentence again and again. They do so within the training part too, so that tells how often to
    expect it.
    """
    held_out = [columns(case.split.explanations(part)) for part in HELD_OUT]
    own, *codes = _sentence_codes([sentences, *held_out])
    theirs = np.concatenate(codes)
    known, asked = own[own >= 0], theirs[theirs >= 0]
    _, which, counts = np.unique(known, return_inverse=True, return_counts=True)
    usual, told = counts[which] > 1, np.isin(asked, known)
    if share(told) <= MORE_THAN_TRAINING * share(usual):
        return np.zeros(len(own), dtype=bool)
    table = [[int(told.sum()), int((~told).sum())], [int(usual.sum()), int((~usual).sum())]]
    if stats.fisher_exact(table, alternative="greater").pvalue >= SURE:
        return np.zeros(len(own), dtype=bool)
    return (own >= 0) & np.isin(own, asked)


def _ranks(case: Case, sentences: ExplanationColumns, about: BoolArray) -> IntArray:
    """Ranks of test items among the items of the user's sentences that training does not hold, in their order."""
    chosen = np.flatnonzero(about)
    by_user = chosen[np.argsort(sentences.users[chosen], kind="stable")]
    items = Ragged.from_lengths(
        sentences.items[by_user], np.bincount(sentences.users[by_user], minlength=case.split.train.num_users)
    )
    ranks = np.zeros(len(case.users), dtype=np.int64)
    for row in np.flatnonzero(items.lengths[case.users]).tolist():
        named = list(dict.fromkeys(items[int(case.users[row])].tolist()))
        ranks[row] = named.index(case.targets[row]) + 1 if case.targets[row] in named else 0
    return ranks


def _pairs(rows: Ragged, num_items: int) -> IntArray:
    return rows.owners * num_items + rows.values


def _sentence_codes(groups: Sequence[ExplanationColumns]) -> list[IntArray]:
    """For each sentence of each group a number of its user and text; −1 for a short one."""
    texts = pa.chunked_array([part for group in groups for part in _chunks(group.texts)], pa.string())
    codes = texts.dictionary_encode().unify_dictionaries().combine_chunks()
    users = np.concatenate([group.users for group in groups])
    numbers = users * max(1, len(codes.dictionary)) + codes.indices.to_numpy().astype(np.int64)
    ends = np.cumsum([len(group) for group in groups])[:-1]
    return np.split(np.where(_long_enough(texts), numbers, -1), ends)


def _chunks(texts: pa.Array | pa.ChunkedArray) -> list[pa.Array]:
    return texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]


def _long_enough(texts: pa.Array | pa.ChunkedArray) -> BoolArray:
    words = pc.list_value_length(pc.utf8_split_whitespace(pc.utf8_trim_whitespace(texts)))
    return np.asarray(pc.greater_equal(words, FEWEST_WORDS))
