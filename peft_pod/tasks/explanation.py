"""Explanation generation: why is this item for this user?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from peft_pod.corpus import Explanation, Part, Split, TrainingPart

from .base import Sample, Task
from .on_demand import SamplesOnDemand
from .template import Template


class ExplanationTask(Task):
    """Write the sentence by which a user would explain an item (POD paper, section 3.1).

    The sentences come from reviews; those about held-out interactions are held out with them.

    Args:
        bare_probability: see `Task`.
    """

    name = "explanation"
    target = "text"
    bare = Template("{user} {item}")
    templates = (
        Template("Tell {user} why {item} is a good choice"),
        Template("What would {user} say in favour of {item} ?"),
        Template("Write a reason for recommending {item} to {user}"),
        Template("{user} took {item} because"),
        Template("Justify {item} as a suggestion for {user} in one sentence"),
        Template("How does {item} fit the taste of {user} ?"),
    )

    def training_size(self, train: TrainingPart) -> int:
        """One for each training sentence."""
        return len(train.explanations)

    def training_sample(self, train: TrainingPart, index: int, rng: np.random.Generator) -> Sample:
        """Take the sentence `index`; only the template is drawn."""
        return self._sample(self.draw_template(rng), train.explanations[index])

    def evaluation_samples(self, split: Split, part: Part, seed: int = 0) -> Sequence[Sample]:
        """One sample for each sentence of the part; nothing is drawn, so `seed` is not used."""
        explanations = split.explanations(part)
        return SamplesOnDemand(len(explanations), partial(self._evaluation_sample, explanations))

    def _evaluation_sample(self, explanations: Sequence[Explanation], place: int) -> Sample:
        return self._sample(self.bare, explanations[place])

    def query(self, user: int, item: int) -> Sample:
        """The question that inference asks: why is `item` for `user`?"""
        return Sample(self.bare, user, {"item": [item]})

    @staticmethod
    def _sample(template: Template, explanation: Explanation) -> Sample:
        return Sample(
            template,
            explanation.user,
            {"item": [explanation.item]},
            target_text=explanation.text,
            target_feature=explanation.feature,
        )
