"""The most frequent items of the training part, for everybody."""

from __future__ import annotations

import numpy as np

from peft_pod.corpus.split import TrainingPart

from .sparse import StaticBaseline


class PopularityBaseline(StaticBaseline):
    """Rank the catalogue by how often each item occurs in the training part: `score(i) = count(i)`.

    Example:
        >>> from types import SimpleNamespace
        >>> train = SimpleNamespace(item_ids=["a", "b", "c"], num_items=3, item_counts=np.array([4, 1, 2]))
        >>> PopularityBaseline().fit(train).recommend([np.array([0])], k=2)[0].tolist()
        [2, 1]
    """

    def _fit(self, train: TrainingPart) -> None:
        self._set_scores(train.item_counts.astype(np.float64))
