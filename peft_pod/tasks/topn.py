"""Top-N recommendation: which of these candidates is for the user?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from peft_pod.corpus import Part, Ragged, Split, TrainingPart
from peft_pod.corpus.candidates import Negatives, candidate_sets, check_negatives, draw_candidates
from peft_pod.corpus.split import IntArray

from .base import Sample, Task, positive_integer
from .on_demand import SamplesOnDemand
from .template import Template

PROTOCOL_NEGATIVES = 99


class TopNTask(Task):
    """Find the one item the user took among sampled others (POD paper, section 3.1).

    In training the right one is a random training item of the user, and the others are drawn from what is not among
    the user's *training* items: held-out items are not looked at, so they may be drawn like any other item. In
    evaluation the others are items the user never took, drawn from a seed, the same for every model.

    Args:
        num_negatives: how many wrong candidates there are (paper: 99). A catalogue with fewer is used whole.
        negatives: how wrong candidates are drawn: `"uniform"` (the paper), or by `"popularity"`, in proportion to how
            often an item occurs in training, plus 1.
        bare_probability: see `Task`.
    """

    name = "topn"
    target = "item"
    bare = Template("{user} {candidates}")
    templates = (
        Template("From {candidates} , choose the one that {user} would take"),
        Template("Only one of these is for {user} : {candidates}"),
        Template("Find the best match for {user} among {candidates}"),
        Template("{user} looks at {candidates} and buys"),
        Template("Out of the shelf {candidates} , what should {user} get ?"),
        Template("Recommend to {user} a single item of {candidates}"),
    )

    def __init__(
        self,
        *,
        num_negatives: int = PROTOCOL_NEGATIVES,
        negatives: Negatives = "uniform",
        bare_probability: float | None = None,
    ) -> None:
        super().__init__(bare_probability=bare_probability)
        check_negatives(negatives)
        self.negatives = negatives
        self.num_negatives = positive_integer("num_negatives", num_negatives)

    def options(self) -> dict[str, Any]:
        """See `Task.options`."""
        return {**super().options(), "num_negatives": self.num_negatives, "negatives": self.negatives}

    def training_size(self, train: TrainingPart) -> int:
        """One question for each user with a training item."""
        return len(train.users_with_items)

    def training_sample(self, train: TrainingPart, index: int, rng: np.random.Generator) -> Sample:
        """Draw one of the user's training items and negatives for it."""
        user = int(train.users_with_items[index])
        items = train.sequences[user]
        answer = int(items[rng.integers(len(items))])
        candidates = draw_candidates(answer, items, train, self.num_negatives, self.negatives, rng).tolist()
        return Sample(self.draw_template(rng), user, {"candidates": candidates}, target_item=answer)

    def evaluation_samples(self, split: Split, part: Part, seed: int = 0) -> Sequence[Sample]:
        """One sample for each user with a held-out item; each user's candidates depend on `seed` and the user alone."""
        users = split.evaluated_users(part)
        sets = candidate_sets(split, part, users=users, count=self.num_negatives, negatives=self.negatives, seed=seed)
        return SamplesOnDemand(len(users), partial(self._evaluation_sample, split, part, users, sets))

    def _evaluation_sample(self, split: Split, part: Part, users: IntArray, sets: Ragged, place: int) -> Sample:
        user = int(users[place])
        return self.query(user, sets[place].tolist(), target_item=split.target(user, part))

    def query(self, user: int, candidates: Sequence[int], target_item: int | None = None) -> Sample:
        """The question that inference asks.

        Args:
            user: position of the user.
            candidates: positions of the items to choose from.
            target_item: the answer, where it is known.

        Raises:
            ValueError: there are no candidates, or one stands twice.
        """
        if len(candidates) == 0:
            raise ValueError("candidates is empty: there is nothing to rank")
        if len(set(candidates)) != len(candidates):
            raise ValueError("candidates names an item twice")
        return Sample(self.bare, user, {"candidates": list(candidates)}, target_item=target_item)
