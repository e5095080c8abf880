"""Are training sentences made from held-out reviews?

A sentence is from a held-out review where it is about an interaction that is not in the training part; or where its
text stands in the review of such an interaction of the same user, and not in the review it is said to come from.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from peft_pod.corpus.parts import Explanation, ExplanationColumns
from peft_pod.corpus.ragged import IntArray, Ragged
from peft_pod.corpus.schema import arrow_column

from .case import BoolArray, Case, share
from .finding import Finding

FEWEST_WORDS = 4
"""Shorter sentences, such as "Works great", are written again and again."""


def check_explanations(case: Case) -> list[Finding]:
    """A finding where training sentences say something of held-out interactions."""
    sentences = columns(case.split.train.explanations)
    about = _about_held_out(case, sentences)
    copied = _copied(case, sentences)
    count = int((about | copied).sum())
    if count == 0:
        return []
    return [
        Finding(
            name="explanations from held-out reviews",
            count=count,
            metrics=case.worth(_ranks(case, sentences, about)),
            description=(
                f"So many of {len(sentences):,} training sentences come from held-out interactions: "
                f"{int(about.sum()):,} are about one, {int(copied.sum()):,} have words of its review. The rule "
                "recommends what the user's training sentences are about and the history does not hold."
            ),
            fix="Take a sentence into training only with its interaction: corpus.split() does.",
        )
    ]


def remark_repeated_sentences(case: Case) -> list[Finding]:
    """A remark where held-out sentences stand in training word for word, by the same user."""
    held_out = columns(case.split.explanations("test"))
    train = columns(case.split.train.explanations)
    known = set(zip(train.users.tolist(), train.texts.to_pylist(), strict=True))
    pairs = zip(held_out.users.tolist(), held_out.texts.to_pylist(), strict=True)
    repeated = np.array([_long_enough(text) and (user, text) in known for user, text in pairs], dtype=bool)
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
    if "review" not in case.corpus.interactions.column_names or len(sentences) == 0:
        return found
    reviews = arrow_column(case.corpus.interactions, "review").take(pa.array(case.encoded.order))
    texts: npt.NDArray[np.object_] = reviews.to_numpy()
    in_training = case.walk.places < np.repeat(case.split.train.lengths, case.walk.lengths)
    offsets, items = case.walk.offsets, case.walk.values
    for place, (user, item, text) in enumerate(
        zip(sentences.users.tolist(), sentences.items.tolist(), sentences.texts.to_pylist(), strict=True)
    ):
        if not _long_enough(text):
            continue
        places = range(offsets[user], offsets[user + 1])
        sources = [at for at in places if text in (texts[at] or "")]
        own = any(in_training[at] and items[at] == item for at in sources)
        found[place] = not own and any(not in_training[at] for at in sources)
    return found


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


def _long_enough(text: str) -> bool:
    return len(text.split()) >= FEWEST_WORDS
