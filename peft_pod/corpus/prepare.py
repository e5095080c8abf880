"""From what was read to what is worked with: rules in a fixed order, each of which counts what it drops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING, get_args

import numpy as np
from datasets import DatasetDict

from .encoding import EncodedInteractions, encode, positions
from .filters import Repeats, below_rating, exact_duplicates, latest, repeated
from .kcore import k_core_rows
from .ragged import IntArray
from .rows import kept_rows
from .schema import arrow_column
from .steps import Step

if TYPE_CHECKING:
    from .corpus import Corpus


@dataclass(frozen=True)
class PrepareOptions:
    """Which rules a corpus goes through, in the order of these fields. By default none.

    Args:
        drop_duplicates: drop an interaction that equals an earlier one in every column.
        repeats: of several interactions of one user with one item, keep all (`"keep"`), or only the `"first"` or the
            `"last"` in time; among equal times the order of the table decides.
        min_rating: drop interactions with a lower rating, and those without one. It comes after `repeats`: with
            `"last"`, an item that the user came to dislike is dropped.
        k_core_users: the fewest interactions of a user that stays; 0 for no threshold.
        k_core_items: likewise of an item. Users and items are dropped until all that are left have enough. Items that
            don't are dropped from the catalogue too.
        drop_last: drop so many interactions of each user, the latest ones; among equal times the order of the table
            decides, as in a split. With 1, what leave-one-out then calls the test part is the validation part of the
            whole corpus: choices can be made by the protocol of the test without reading its items.
        drop_unused_items: drop items without an interaction from the catalogue.

    Raises:
        ValueError: an option does not have a value that it can have.
    """

    drop_duplicates: bool = False
    repeats: Repeats = "keep"
    min_rating: float | None = None
    k_core_users: int = 0
    k_core_items: int = 0
    drop_last: int = 0
    drop_unused_items: bool = False

    def __post_init__(self) -> None:
        if self.repeats not in get_args(Repeats):
            raise ValueError(f"repeats must be one of {list(get_args(Repeats))}, got {self.repeats!r}")
        rating = self.min_rating
        if rating is not None and (isinstance(rating, bool) or not isinstance(rating, Real) or not np.isfinite(rating)):
            raise ValueError(f"min_rating must be a finite number or None, got {self.min_rating!r}")
        for name in ("k_core_users", "k_core_items", "drop_last"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ValueError(f"{name} must be a whole number from 0, got {value!r}")


@dataclass(frozen=True)
class _State:
    """What is left of a corpus between two rules: rows of interactions, and which items are in the catalogue."""

    corpus: Corpus
    encoded: EncodedInteractions
    rows: IntArray
    catalogue: np.ndarray

    def without(self, places: IntArray) -> _State:
        return replace(self, rows=np.delete(self.rows, places))


def prepare(corpus: Corpus, options: PrepareOptions) -> Corpus:
    """Apply rules to a corpus, in the order of the fields of `PrepareOptions`.

    Sentences stay where their user still has an interaction with their item.

    Args:
        corpus: the corpus; it is not changed.
        options: which rules.

    Returns:
        What is left, with a step for each rule that was asked for, which counts what it dropped.

    Raises:
        CorpusFormatError: an interaction or a sentence names an item or user that the corpus does not have.
        ValueError: nothing is left, or there is a rating threshold and there are no ratings.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> prepared = prepare(load_corpus("embedded", num_users=50), PrepareOptions(k_core_users=15, k_core_items=3))
        >>> prepared.steps[-1].name, prepared.steps[-1].settings["users"]
        ('k-core', 15)
    """
    encoded = encode(corpus.interactions, corpus.items)
    state = _State(corpus, encoded, np.arange(len(encoded.users)), np.ones(encoded.num_items, dtype=bool))
    wanted: list[tuple[bool, Callable[[_State, PrepareOptions], tuple[_State, Step]]]] = [
        (options.drop_duplicates, _drop_duplicates),
        (options.repeats != "keep", _drop_repeats),
        (options.min_rating is not None, _drop_low_ratings),
        (options.k_core_users > 0 or options.k_core_items > 0, _k_core),
        (options.drop_last > 0, _drop_last),
        (options.drop_unused_items, _drop_unused_items),
    ]
    steps: list[Step] = []
    for is_wanted, rule in wanted:
        if is_wanted:
            before = state
            state, step = rule(state, options)
            _refuse_empty(before, state, step)
            steps.append(step)
    if not steps:
        return corpus
    tables, counts = _tables(state)
    if corpus.explanations is not None:
        steps[-1] = replace(steps[-1], counts={**steps[-1].counts, **counts})
    return replace(corpus, tables=tables, steps=(*corpus.steps, *steps))


def _drop_duplicates(state: _State, options: PrepareOptions) -> tuple[_State, Step]:
    dropped = exact_duplicates(state.corpus.interactions, state.encoded, state.rows)
    return state.without(dropped), Step("drop duplicates", {}, {"exact duplicates dropped": len(dropped)})


def _drop_repeats(state: _State, options: PrepareOptions) -> tuple[_State, Step]:
    dropped = repeated(state.encoded, state.rows, options.repeats)
    counts = {"repeated interactions of a user with an item dropped": len(dropped)}
    return state.without(dropped), Step("drop repeats", {"keep": options.repeats}, counts)


def _drop_low_ratings(state: _State, options: PrepareOptions) -> tuple[_State, Step]:
    threshold = float(options.min_rating or 0)
    low, missing = below_rating(state.corpus.interactions, state.rows, threshold)
    counts = {
        "interactions with a lower rating dropped": len(low),
        "interactions without a rating dropped": len(missing),
    }
    return state.without(np.concatenate([low, missing])), Step("rating threshold", {"min_rating": threshold}, counts)


def _k_core(state: _State, options: PrepareOptions) -> tuple[_State, Step]:
    encoded, rows = state.encoded, state.rows
    users, items = encoded.users[rows], encoded.items[rows]
    kept, rounds = k_core_rows(users, items, options.k_core_users, options.k_core_items)
    enough = np.bincount(items[kept], minlength=encoded.num_items) >= options.k_core_items
    counts = {
        "interactions dropped": len(rows) - len(kept),
        "users dropped": len(np.unique(users)) - len(np.unique(users[kept])),
        "items dropped from the catalogue": int((state.catalogue & ~enough).sum()),
        "rounds": rounds,
    }
    settings = {"users": options.k_core_users, "items": options.k_core_items}
    return replace(state, rows=rows[kept], catalogue=state.catalogue & enough), Step("k-core", settings, counts)


def _drop_last(state: _State, options: PrepareOptions) -> tuple[_State, Step]:
    dropped = latest(state.encoded, state.rows, options.drop_last)
    users = state.encoded.users[state.rows]
    counts = {
        "interactions dropped": len(dropped),
        "users without an interaction left": len(np.unique(users)) - len(np.unique(np.delete(users, dropped))),
    }
    return state.without(dropped), Step("drop last", {"interactions": options.drop_last}, counts)


def _drop_unused_items(state: _State, options: PrepareOptions) -> tuple[_State, Step]:
    used = np.bincount(state.encoded.items[state.rows], minlength=state.encoded.num_items) > 0
    counts = {"items without an interaction dropped from the catalogue": int((state.catalogue & ~used).sum())}
    return replace(state, catalogue=state.catalogue & used), Step("drop unused items", {}, counts)


def _refuse_empty(before: _State, after: _State, step: Step) -> None:
    if len(after.rows) == 0:
        settings = ", ".join(f"{name}={value}" for name, value in step.settings.items())
        raise ValueError(
            f"no interaction of corpus {before.corpus.name!r} is left after {step.name!r} with {settings}; there were "
            f"{len(before.rows)} before it: choose lower thresholds"
        )


def _tables(state: _State) -> tuple[DatasetDict, dict[str, int]]:
    corpus, encoded = state.corpus, state.encoded
    keep = np.zeros(len(encoded.users), dtype=bool)
    keep[state.rows] = True
    tables = {
        "interactions": kept_rows(corpus.interactions, keep),
        "items": kept_rows(corpus.items, state.catalogue),
    }
    if corpus.explanations is None:
        return DatasetDict(tables), {}
    users = positions(arrow_column(corpus.explanations, "user_id"), encoded.user_ids, "explanations", "user_id")
    items = positions(arrow_column(corpus.explanations, "item_id"), encoded.item_ids, "explanations", "item_id")
    founded = np.isin(users * encoded.num_items + items, encoded.pairs[state.rows])
    tables["explanations"] = kept_rows(corpus.explanations, founded)
    return DatasetDict(tables), {"explanations without an interaction dropped": int((~founded).sum())}
