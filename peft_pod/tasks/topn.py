"""Top-N recommendation: which of these candidates is for the user?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, get_args

import numpy as np

from peft_pod.corpus import Part, Ragged, Split, TrainingPart
from peft_pod.corpus.candidates import Negatives, candidate_sets, check_negatives, draw_candidates
from peft_pod.corpus.split import IntArray

from .base import Sample, Task, positive_integer
from .on_demand import SamplesOnDemand
from .topn_templates import CANDIDATES, WORDINGS

PROTOCOL_NEGATIVES = 99

CandidatesIn = Literal["prompt", "trie"]


class TopNTask(Task):
    """Find the one item the user took among sampled others (POD paper, section 3.1).

    In training the right one is a random training item of the user, and the others are drawn from what is not among
    the user's *training* items: held-out items are not looked at, so they may be drawn like any other item. In
    evaluation the others are items the user never took, drawn from a seed, the same for every model.

    The input lists the candidates, as in the paper, or leaves them out (`candidates_in="trie"`): then the model names
    any item in training, where no others are drawn, and in inference the trie of items is restricted to the candidates.
    What is asked is the same, so the results of both can be compared.

    Args:
        num_negatives: how many wrong candidates there are (paper: 99). A catalogue with fewer is used whole.
        negatives: how wrong candidates are drawn: `"uniform"` (the paper), or by `"popularity"`, in proportion to how
            often an item occurs in training, plus 1.
        candidates_in: where the model meets the candidates: `"prompt"`, in its input (the paper), or `"trie"`.
        history_length: the most items of the user's history that the input holds too, the most recent ones; 0 for no
            history (the paper). In training these are items before the answer, which is then not the first item of its
            user: users with one training item are left out.
        bare_probability: see `Task`.

    Raises:
        ValueError: an argument is none of those it may be.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> split = load_corpus("embedded", num_users=50).split()
        >>> sample = TopNTask(candidates_in="trie", history_length=5).evaluation_samples(split, "test")[0]
        >>> sample.template.text, len(sample.candidates), sample.target_item in sample.candidates
        ('{user} {history}', 100, True)
    """

    name = "topn"
    target = "item"
    bare = CANDIDATES.bare
    templates = CANDIDATES.templates

    def __init__(
        self,
        *,
        num_negatives: int = PROTOCOL_NEGATIVES,
        negatives: Negatives = "uniform",
        candidates_in: CandidatesIn = "prompt",
        history_length: int = 0,
        bare_probability: float | None = None,
    ) -> None:
        super().__init__(bare_probability=bare_probability)
        check_negatives(negatives)
        if candidates_in not in get_args(CandidatesIn):
            raise ValueError(f"candidates_in must be one of {list(get_args(CandidatesIn))}, got {candidates_in!r}")
        if isinstance(history_length, bool) or not isinstance(history_length, int) or history_length < 0:
            raise ValueError(
                f"history_length must be 0 (no history) or a positive whole number, got {history_length!r}"
            )
        self.negatives = negatives
        self.num_negatives = positive_integer("num_negatives", num_negatives)
        self.candidates_in = candidates_in
        self.history_length = history_length
        self.bare, self.templates = WORDINGS[candidates_in, history_length > 0]

    def options(self) -> dict[str, Any]:
        """See `Task.options`."""
        return {
            **super().options(),
            "num_negatives": self.num_negatives,
            "negatives": self.negatives,
            "candidates_in": self.candidates_in,
            "history_length": self.history_length,
        }

    def training_size(self, train: TrainingPart) -> int:
        """One question for each user with a training item, or with two where the input holds a history."""
        return len(self._trained_users(train))

    def training_sample(self, train: TrainingPart, index: int, rng: np.random.Generator) -> Sample:
        """Draw one of the user's training items, and negatives for it where the input lists candidates."""
        user = int(self._trained_users(train)[index])
        items = train.sequences[user]
        place = int(rng.integers(1 if self.history_length else 0, len(items)))
        answer = int(items[place])
        filling: dict[str, list[int]] = {}
        candidates = None
        if self.candidates_in == "prompt":
            candidates = draw_candidates(answer, items, train, self.num_negatives, self.negatives, rng).tolist()
            filling["candidates"] = candidates
        if self.history_length:
            filling["history"] = self._recent(items[:place])
        return Sample(self.draw_template(rng), user, filling, target_item=answer, candidates=candidates)

    def evaluation_samples(self, split: Split, part: Part, seed: int = 0) -> Sequence[Sample]:
        """One sample for each user with a held-out item; each user's candidates depend on `seed` and the user alone."""
        users = split.evaluated_users(part)
        sets = candidate_sets(split, part, users=users, count=self.num_negatives, negatives=self.negatives, seed=seed)
        return SamplesOnDemand(len(users), partial(self._evaluation_sample, split, part, users, sets))

    def _evaluation_sample(self, split: Split, part: Part, users: IntArray, sets: Ragged, place: int) -> Sample:
        user = int(users[place])
        history = split.history(user, part) if self.history_length else ()
        return self.query(user, sets[place].tolist(), split.target(user, part), history=history)

    def query(
        self,
        user: int,
        candidates: Sequence[int],
        target_item: int | None = None,
        *,
        history: Sequence[int] | IntArray = (),
    ) -> Sample:
        """The question that inference asks.

        Args:
            user: position of the user.
            candidates: positions of the items to choose from.
            target_item: the answer, where it is known.
            history: positions of the items the user took, oldest first; only where the task has a `history_length`.

        Raises:
            ValueError: there are no candidates, or one stands twice; or the history is missing or not wanted.
        """
        if len(candidates) == 0:
            raise ValueError("candidates is empty: there is nothing to rank")
        if len(set(candidates)) != len(candidates):
            raise ValueError("candidates names an item twice")
        if (len(history) > 0) != (self.history_length > 0):
            given = "is empty" if len(history) == 0 else f"has {len(history)} items"
            raise ValueError(f"history {given}, but history_length of the task {self.name!r} is {self.history_length}")
        filling: dict[str, list[int]] = {}
        if self.candidates_in == "prompt":
            filling["candidates"] = list(candidates)
        if self.history_length:
            filling["history"] = self._recent(history)
        return Sample(self.bare, user, filling, target_item=target_item, candidates=list(candidates))

    def _trained_users(self, train: TrainingPart) -> IntArray:
        return train.users_with_transitions if self.history_length else train.users_with_items

    def _recent(self, history: Sequence[int] | IntArray) -> list[int]:
        return [int(item) for item in history[-self.history_length :]]
