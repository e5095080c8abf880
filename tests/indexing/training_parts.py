"""Training parts that fit on a line."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from peft_pod.corpus.split import TrainingPart


def make_train(sequences: Sequence[Sequence[int]], num_items: int) -> TrainingPart:
    return TrainingPart(
        user_ids=[f"u{user}" for user in range(len(sequences))],
        item_ids=[f"i{item}" for item in range(num_items)],
        item_titles=[f"Item {item}" for item in range(num_items)],
        sequences=[np.array(sequence, dtype=np.int64) for sequence in sequences],
        timestamps=[np.arange(len(sequence)) for sequence in sequences],
        explanations=[],
    )
