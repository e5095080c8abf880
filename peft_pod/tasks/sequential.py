"""Sequential recommendation: the items a user took, in order; which comes next?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, get_args

import numpy as np

from peft_pod.corpus import Part, Split, TrainingPart
from peft_pod.corpus.split import IntArray

from .base import Sample, Task, positive_integer
from .on_demand import SamplesOnDemand
from .template import Template

Segments = Literal["random", "prefixes"]


class SequentialTask(Task):
    """Predict a user's next item from the items before it (POD paper, section 3.1).

    Training draws a random segment of the user's training items, the last of which is the answer; the validation
    and test items are never part of it. Or it goes through all prefixes: every training item but a user's first is an
    answer once an epoch, after all that the user took before it. Evaluation gives the whole known history. Of a long
    history the most recent `history_length` items are kept.

    Args:
        history_length: the most items of a history that the input holds (paper: 20).
        segments: `"random"`, one random segment a user and epoch (the paper), or `"prefixes"`.
        bare_probability: see `Task`.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> split = load_corpus("embedded", num_users=50).split()
        >>> samples = SequentialTask().evaluation_samples(split, "test")
        >>> samples[0].target_item == split.target(samples[0].user, "test")
        True
    """

    name = "sequential"
    target = "item"
    bare = Template("{user} {history}")
    templates = (
        Template("So far {user} took {history} in this order ; the next one is"),
        Template("After {history} , what will {user} pick ?"),
        Template("Continue the list of {user} : {history}"),
        Template("{user} has been through {history} . Name the item that follows ."),
        Template("Given the past choices {history} , predict the coming choice of {user}"),
        Template("Which item should we show to {user} , whose latest ones are {history} ?"),
    )

    def __init__(
        self, *, history_length: int = 20, segments: Segments = "random", bare_probability: float | None = None
    ) -> None:
        super().__init__(bare_probability=bare_probability)
        if segments not in get_args(Segments):
            raise ValueError(f"segments must be one of {list(get_args(Segments))}, got {segments!r}")
        self.segments = segments
        self.history_length = positive_integer("history_length", history_length)

    def options(self) -> dict[str, Any]:
        """See `Task.options`."""
        return {**super().options(), "history_length": self.history_length, "segments": self.segments}

    def training_size(self, train: TrainingPart) -> int:
        """One segment for each user with at least two training items, or one sample for each prefix."""
        if self.segments == "prefixes":
            return int(train.transition_ends[-1])
        return len(train.users_with_transitions)

    def training_sample(self, train: TrainingPart, index: int, rng: np.random.Generator) -> Sample:
        """Draw a segment of the user's training items: a random start, and a random answer after it.

        For prefixes only the template is drawn.
        """
        if self.segments == "prefixes":
            user = int(np.searchsorted(train.transition_ends, index, side="right"))
            items = train.sequences[user]
            answer = len(items) - int(train.transition_ends[user] - index)
            return self._sample(self.draw_template(rng), user, items[:answer], int(items[answer]))
        user = int(train.users_with_transitions[index])
        items = train.sequences[user]
        start = int(rng.integers(len(items) - 1))
        answer = int(rng.integers(start + 1, len(items)))
        return self._sample(self.draw_template(rng), user, items[start:answer], int(items[answer]))

    def evaluation_samples(self, split: Split, part: Part, seed: int = 0) -> Sequence[Sample]:
        """One sample for each user with a held-out item; nothing is drawn, so `seed` is not used."""
        users = split.evaluated_users(part)
        return SamplesOnDemand(len(users), partial(self._evaluation_sample, split, part, users))

    def _evaluation_sample(self, split: Split, part: Part, users: IntArray, place: int) -> Sample:
        user = int(users[place])
        return self.query(user, split.history(user, part), target_item=split.target(user, part))

    def query(self, user: int, history: Sequence[int] | IntArray, target_item: int | None = None) -> Sample:
        """The question that inference asks.

        Args:
            user: position of the user.
            history: positions of the items they took, oldest first; all of them are excluded from the answers.
            target_item: the answer, where it is known.

        Raises:
            ValueError: the history is empty.
        """
        if len(history) == 0:
            raise ValueError("the history is empty: the next item is predicted from at least one item")
        return self._sample(self.bare, user, history, target_item, exclude=history)

    def _sample(
        self,
        template: Template,
        user: int,
        history: Sequence[int] | IntArray,
        target_item: int | None,
        exclude: Sequence[int] | IntArray = (),
    ) -> Sample:
        recent = [int(item) for item in history[-self.history_length :]]
        excluded = [int(item) for item in exclude]
        return Sample(template, user, {"history": recent}, target_item=target_item, exclude=excluded)
